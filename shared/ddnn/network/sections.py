"""Sections: what runs at a tier and ends in an exit, built of blocks or by a factory, `package.module:factory`.

A factory is called with a `Wanted` and makes a module; the shape of its features is found by running it (n children).
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ddnn.errors import BadConfig
from ddnn.extensions import resolve
from ddnn.network.backbone import Backbone
from ddnn.network.beside import Beside, Linear
from ddnn.network.blocks import FUSIONS, Concat, Head, Tail, Trunk
from ddnn.network.encoding import Encode
from ddnn.network.normalise import normaliser
from ddnn.network.pieces import OfBackbone
from ddnn.network.plan import NetworkConfig, SectionPlan, Shape, Wanted
from ddnn.network.quantise import Sign
from ddnn.network.weights import load_weights
from ddnn.types import Ints

__all__ = ["Blocks", "Foreign", "Fork", "Local", "features_of", "make_section"]


class Fork(nn.Module):
    """Where a section ends that has something above it: (B, …) → scores (B, K), features (B, *cut) to be quantised.

    With a tail, a block of its own makes the features, and the head sees the trunk's values. Without, the trunk's
    output is the features, and the head sees their bits, as the paper's does.
    """

    def __init__(self, config: NetworkConfig, plan: SectionPlan, shape: Shape, classes: int) -> None:
        super().__init__()
        self.head = Head(config, shape, classes, plan.parts)
        self.tail = Tail(config, plan, shape, plan.tail) if plan.tail else None
        self.seen = nn.Identity() if plan.tail else Sign()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(self.seen(x)), x if self.tail is None else self.tail(x)


class Blocks(nn.Module):
    """A section of blocks: behind its normalised view at a device, else behind the fusion of what its children gave."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__()
        config, plan = wanted.network, SectionPlan.of(wanted)
        self.plan = plan
        if wanted.view:
            self.normalise = normaliser(wanted.view, config, size=wanted.config.input_size)
        else:
            self.fusion = FUSIONS[wanted.fusion](wanted.children, wanted.input, wanted.lengths)
        own, dense = wanted.config, plan.family == "dense"
        self.encode = Encode(math.prod(plan.taken), own.bins) if own.bins and dense else None
        self.taken = nn.Identity()  # what is judged beside the network; hooks look at it
        judged = own.linear or own.trees or own.forest
        self.beside = Beside(own, math.prod(plan.taken), wanted.classes) if judged else None
        self.trunk = Trunk(config, plan)
        if plan.features and not plan.pass_on:
            self.fork = Fork(config, plan, self.trunk.shape, wanted.classes)
        else:
            self.head = Head(config, self.trunk.shape, wanted.classes, plan.parts)

    def forward(self, x: Tensor, *present: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """View (B, *shape), or (B, n, …) and present (B, n) → scores (B, K); below the cloud features (B, *cut) too."""
        x = self.taken(self.fusion(x, *present) if present else self.normalise(x))
        within = self.trunk((self.encode(x.flatten(1)) if self.encode else x).reshape(-1, *self.plan.input))
        if self.plan.features and not self.plan.pass_on:
            scores, features = self.fork(within)
        else:
            scores, features = self.head(within), self.passed(x)
        if self.beside and not self.training:
            scores = self.beside(scores, x.flatten(1), present[0] if present else None)
        return (scores, features) if self.plan.features else scores

    def passed(self, x: Tensor) -> Tensor:
        """What goes up as it came in, flat where devices have unequal views."""
        return x.flatten(1) if self.plan.flat else x


class Local(nn.Module):
    """The local exit: scores (B, d, K) fused to (B, K); concatenated ones go through a linear layer, d·K → K."""

    def __init__(self, fusion: str, devices: int, classes: int) -> None:
        super().__init__()
        self.fusion = FUSIONS[fusion](devices, (classes,))
        self.score = nn.Linear(devices * classes, classes) if isinstance(self.fusion, Concat) else nn.Identity()

    def forward(self, scores: Tensor, present: Tensor) -> Tensor:
        return self.score(self.fusion(scores, present))  # type: ignore[no-any-return]

    def fit(self, scores: Tensor, present: Tensor, y: Ints, *, strength: float) -> None:
        """Fit the linear layer to scores (N, d, K), present (N, d) and classes (N,); an absent device says its mean."""
        assert isinstance(self.fusion, Concat)
        assert isinstance(self.score, nn.Linear)
        seen = present.unsqueeze(2)
        self.fusion.absent.copy_((scores * seen).sum(dim=0) / seen.sum(dim=0).clamp(min=1))
        fitted = Linear(self.score.in_features, self.score.out_features)
        fitted.fit(self.fusion(scores, present).numpy(), y, strength=strength)
        self.score.weight.copy_(fitted.weight)
        self.score.bias.copy_(fitted.bias)


class Foreign(nn.Module):
    """A module of the user's own, at a device behind the input normalisation."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__()
        key, config = f"{wanted.key}.section", wanted.config
        try:
            section = resolve(config.section, key, ["blocks"])(wanted)
        except TypeError as error:
            raise BadConfig(f"{key} is {config.section!r}, which cannot be called as a factory ({error})") from error
        if not isinstance(section, nn.Module):
            found = type(section).__name__
            raise BadConfig(f"{key} is {config.section!r}, which makes a {found}; expected a torch module")
        size = wanted.config.input_size
        self.normalise = normaliser(wanted.view, wanted.network, size=size) if wanted.view else None
        self.raw_view = bool(getattr(section, "raw_view", False))
        self.section = section

    def forward(self, x: Tensor, *present: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if self.normalise is not None:
            raw = self.normalise.filled if self.normalise.floats else nn.Identity()
            x = raw(x) if self.raw_view else self.normalise(x)
        return self.section(x, *present)  # type: ignore[no-any-return]


def make_section(wanted: Wanted, backbone: Backbone | None = None) -> nn.Module:
    """Build a section as its table says, or of its tier's piece of a backbone, with weights; raise `BadConfig`."""
    section: nn.Module
    if wanted.config.section != "blocks":
        section = Foreign(wanted)
    else:
        section = OfBackbone(wanted, backbone) if backbone else Blocks(wanted)
    if wanted.config.weights:
        module = section.section if isinstance(section, Foreign) else section
        load_weights(module, Path(wanted.config.weights), f"{wanted.key}.weights", "section")
    return section


def features_of(section: nn.Module, wanted: Wanted) -> Shape | None:
    """Shape of one event's features, found by running the section on two; raise `BadConfig` where it gives others."""
    inputs = [torch.zeros(2, wanted.children, *wanted.input), torch.ones(2, wanted.children, dtype=torch.bool)]
    if wanted.view:
        inputs = [torch.from_numpy(np.zeros((2, *wanted.view.shape), wanted.view.numpy_dtype))]
    training, where = section.training, f"{wanted.key}.section is {wanted.config.section!r}"
    try:
        with torch.no_grad():
            found = section.eval()(*inputs)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        shapes = " and ".join(str(tuple(each.shape)) for each in inputs)
        raise BadConfig(f"{where}, which fails on {shapes}: {str(error).splitlines()[0]}") from error
    finally:
        section.train(training)
    given = found if isinstance(found, tuple) else (found,)
    shapes = ", ".join(str(tuple(each.shape)) if isinstance(each, Tensor) else type(each).__name__ for each in given)
    features = given[1].shape[1:] if len(given) == 2 and isinstance(given[1], Tensor) and given[1].dim() > 1 else None
    expected = [(2, wanted.classes)] + [(2, *(features or "…"))] * wanted.features
    if shapes != ", ".join(map(str, expected)):
        wish = "scores (2, {}) and features (2, …)" if wanted.features else "scores (2, {}) alone"
        raise BadConfig(f"{where}, which gives {shapes} of 2 events; expected {wish.format(wanted.classes)}")
    return tuple(features) if features else None
