"""The backbone of a bundle in one piece, on whole pictures, with an exit of its own.

Legend: M pictures, F numbers that the exit sees of one, N events, D devices, K classes.
"""

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from ddnn.bundle import Bundle
from ddnn.network import NetworkConfig
from ddnn.network.backbone import uncut
from ddnn.network.normalise import normaliser
from ddnn.network.pieces import Pool
from ddnn.network.tracing import Traced
from ddnn.runtime import Section
from ddnn.topology import View
from ddnn.training import Config
from ddnn.training.run import weights_of
from ddnn.types import Array, Bools, Floats, Ints

__all__ = ["STRENGTHS", "Judge", "Whole"]

STRENGTHS: Final = (0.003, 0.03, 0.3)
"""Inverse ridge penalties that are tried."""
_AT_ONCE: Final = 8
_MOST_STEPS: Final = 300


@dataclass(frozen=True)
class Whole:
    """The backbone from its first module to its end, and what the edge's exit sees of a map."""

    section: Section  #: normalised pictures → F numbers
    network: NetworkConfig
    side: int  #: of the pictures that it takes, 0: as they come

    @classmethod
    def of(cls, bundle: Bundle) -> Self | None:
        """That of a bundle's devices and edge; None of a network without a backbone, or of several edges."""
        network, topology = Config.of(bundle.manifest.training.config).network, bundle.topology
        if not network.backbone or not network.edge_section or len(topology.edges) != 1:
            return None
        view, end = topology.devices[0].view, network.backbone_end
        (body,) = Traced(uncut(network, weights_of(bundle)), [end] * bool(end), network.backbone).parts((), end)
        side = network.device.input_size or view.shape[1]
        picture = torch.zeros(1, view.shape[0], side, side if network.device.input_size else view.shape[2])
        with torch.no_grad():
            pool = Pool(tuple(body(picture).shape[1:]), network.edge.pool)
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as of every export: it warns that it is the older exporter
            file = Path(folder) / "whole.onnx"
            torch.onnx.export(
                nn.Sequential(body, pool).eval(),
                (picture,),
                str(file),
                input_names=["x"],
                output_names=["seen"],
                dynamic_axes={"x": {0: "B"}, "seen": {0: "B"}},
                opset_version=18,
                dynamo=False,
            )
            return cls(Section(file), network, network.device.input_size)

    def seen(self, pictures: Array) -> Floats:
        """Pictures (M, C, H, W) of any one size → (M, F)."""
        view = View(shape=pictures.shape[1:], dtype="UINT8")
        prepare, found = normaliser(view, self.network, size=self.side).eval(), list[Floats]()
        for start in range(0, len(pictures), _AT_ONCE):
            with torch.no_grad():
                x = prepare(torch.from_numpy(np.ascontiguousarray(pictures[start : start + _AT_ONCE])))
            found.append(self.section.run(x=x.numpy())["seen"])
        return np.concatenate(found)


@dataclass(frozen=True)
class Judge:
    """An exit: logistic regression on what is seen of single views; of an event the mean over all of them counts."""

    model: Pipeline
    classes: int

    @classmethod
    def fit(cls, seen: Floats, y: Ints, classes: int, strength: float) -> Self:
        """Of views (M, F) with their classes (M,)."""
        judge = LogisticRegression(C=strength, max_iter=_MOST_STEPS, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # near enough after so many steps
            return cls(make_pipeline(StandardScaler(), judge).fit(seen, y), classes)

    def labels(self, seen: Floats, present: Bools) -> Ints:
        """(N,) the class with the largest mean logarithm over the views (N, D, F) that are present (N, D)."""
        logs = self.model.predict_log_proba(seen.reshape(present.size, -1)).reshape(*present.shape, -1)
        means = (logs * present[:, :, None]).sum(axis=1)
        return np.asarray(self.model.classes_[means.argmax(axis=1)])
