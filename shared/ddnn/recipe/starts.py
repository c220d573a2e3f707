"""Where a search starts: what the data look like, and the first recipes and changes that are tried on such data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from ddnn.configs import config_file, merged, read_toml
from ddnn.data import Dataset
from ddnn.data.moments import SIDES, finite_moments, finite_quantiles, heavy_tails, middle_deviation
from ddnn.training import Config
from ddnn.types import Array, Bools

__all__ = ["Change", "Looks", "changes", "judging", "passing", "savings", "start"]

BYTES: Final = 128
"""Most that a view may cost to be sent itself, in half precision or else in 8 bits a number."""
FEATURES: Final = 64  #: bytes of the features that a section makes of larger views
VIEW: Final = 512  #: numbers of a series that may be sent itself, at most
WIDEST: Final = 2048  #: numbers times bins that a section takes, at most
MOST: Final = 1_000_000
"""Numbers of a device that tails are told from, at most."""
TREES: Final = 32  #: of a forest that judges a device's view
STEPS: Final = 1500
"""Steps that a network of few events learns in."""

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Looks:
    """What a recipe depends on."""

    kind: Literal["numbers", "series", "images"]
    """numbers: views so small that they are sent themselves."""
    devices: int
    events: int
    """That are learnt from."""
    numbers: int
    """Of the largest view."""
    channels: int
    rarest: float
    """Share of the rarest class, 1 where classes are as many."""
    grid: bool
    tails: bool
    """Whether a channel has heavy tails."""
    whole: bool = False
    """Whether a view is of bytes."""
    alike: bool = True
    """Whether all views are of one shape and type."""

    @classmethod
    def of(cls, data: Dataset) -> "Looks":
        """Look at shapes, and at the classes of the training events."""
        views = [view.shape[1:] for view in data.views]
        numbers = max(math.prod(shape) for shape in views)
        axes = {len(shape) for shape in views}
        whole = any(view.dtype == np.uint8 for view in data.views)
        # Bytes are sent themselves where features of them would be as long.
        small = numbers <= (FEATURES if whole else BYTES)
        y = data.y[data.split == "train"]
        counts = np.bincount(y, minlength=len(data.classes))
        seen = counts[counts > 0]
        kind: Literal["numbers", "series", "images"] = "numbers" if small or axes == {1} else "series"
        if axes == {3}:
            kind = "images"
        return cls(
            kind,
            data.devices,
            len(y),
            numbers,
            max(shape[0] for shape in views),
            float(seen.min() / seen.max()) if len(seen) else 1.0,
            data.grid is not None,
            any(_tails(view, data.split == "train") for view in data.views),
            whole,
            len({(view.shape[1:], view.dtype) for view in data.views}) == 1,
        )


@dataclass(frozen=True)
class Change:
    """One thing to try."""

    name: str
    document: Document
    gain: float = 0.002
    """What it must be worth, 0..1: what makes the network larger must be worth more, what spares time may cost some."""


def start(looks: Looks) -> Config:
    """The simplest recipe for data that look like this."""
    return Config.of(merged(_network(looks), {"training": _pace(looks)}))


def _pace(looks: Looks) -> dict[str, Any]:
    """Batches and epochs: so many steps, whatever the number of events; of few events none is held to be the best."""
    batch = int(min(64, max(8, 2 ** round(math.log2(max(looks.events / 24, 1))))))
    if looks.kind == "images":
        return {"keep": "best" if looks.events > 2000 else "last"}
    epochs = min(max(math.ceil(STEPS * batch / looks.events), 16), 200)
    return {"batch": batch, "epochs": epochs, "keep": "last" if looks.events < 20_000 else "best", "scale": 0.0}


def _network(looks: Looks) -> dict[str, Any]:
    if looks.kind == "images":
        packaged = ("mnist" if looks.events > 20_000 else "mnist5k") if looks.grid else "eth80"
        own = {} if looks.alike else {"network": {"shared_weights": False}}
        return merged(read_toml(config_file(packaged)), own)
    if looks.kind == "series":
        return {"network": {"local_fusion": "attention"}}
    if looks.numbers <= BYTES:
        # Neither costs more than the view: bytes go up as bytes.
        codec = "float16" if 2 * looks.numbers <= BYTES and not looks.whole else "bits8"
        passed = {"flat": True, "pass_on": True, "cut_codec": codec}
        return {
            "network": {
                "local_fusion": "concat",
                "device": {**passed, "widths": [64]},
                "edge": {**passed, "widths": [128, 64]},
                "cloud": {"flat": True, "widths": [256, 128]},
                "normalise": "element",
                "tails": "keep",
            },
            "training": {"shift": 0.0},
        }
    return {"network": {"local_fusion": "attention", "device": {"flat": True, "widths": [128]}, "tails": "keep"}}


def changes(looks: Looks, config: Config) -> list[list[Change]]:
    """What is tried, stage by stage; of each stage the best that is worth its gain is kept."""
    stages: list[list[Change]] = []
    if looks.kind == "numbers":
        passing = config.network.device.pass_on
        if looks.tails:
            stages.append([Change("heavy tails bent", {"network": {"tails": "bend"}}, 0.005)])
        tiers = ("device", "edge", "cloud") if passing else ("device",)
        most = max(4, min(16, WIDEST // (looks.numbers * looks.devices)))
        stages.append(
            [
                Change(f"bins: numbers as places between {bins + 1} quantiles", _bins(tiers, bins), 0.005)
                for bins in sorted({4, most})
            ]
        )
        if passing and looks.numbers > looks.channels:
            stages.append([Change("channels on one scale", {"network": {"normalise": "channel"}})])
    if looks.kind == "series":
        spectrum = {"spectrum": True, "device": {"flat": True, "widths": [128]}}
        turn = {"turn": 40.0} if looks.channels % 3 == 0 else {}
        stages.append(
            [
                Change("spectra beside the samples", {"network": spectrum}, 0.002),
                Change("dense devices", {"network": {"device": {"flat": True, "widths": [128]}}}),
                Change("exits that see four parts of the time", {"network": {"device": {"parts": 4}}}),
            ]
        )
        stages.append(
            [
                Change("larger random changes", {"training": {"shift": 0.2, "scale": 0.2, "noise": 0.1, **turn}}),
                Change("no shift in time", {"training": {"shift": 0.0}}),
            ]
        )
    if looks.kind == "images":
        return []
    others = [fusion for fusion in ("mean", "attention", "concat") if fusion != config.network.local_fusion]
    stages.append([Change(f"local exit by {fusion}", {"network": {"local_fusion": fusion}}) for fusion in others])
    epochs = config.training.epochs
    stages.append(
        [
            Change("half the epochs", {"training": {"epochs": max(epochs // 2, 8)}}, -0.001),
            Change("twice the epochs", {"training": {"epochs": epochs * 2}}, 0.003),
            Change("more noise", {"training": {"noise": 0.2}}),
        ]
    )
    if looks.rarest < 0.1:
        stages.append([Change("classes weighed alike", {"training": {"class_weights": "balanced"}})])
    return stages


def passing(looks: Looks, config: Config) -> list[Change]:
    """What is tried of series that have few numbers: the views themselves go up, for classifiers to judge them."""
    if looks.kind != "series" or looks.numbers > VIEW or config.network.device.pass_on:
        return []
    if looks.whole and config.network.spectrum:
        return []  # with their spectra, bytes would cost more than they are
    passed = {tier: {"pass_on": True, "cut_codec": "bits8"} for tier in ("device", "edge")}
    return [Change("views that are sent themselves, 8 bits a number", {"network": passed}, 0.005)]


def judging(looks: Looks) -> list[Change]:
    """What is tried of devices whose views have few numbers: others judge these than the network."""
    if looks.kind == "images" or looks.numbers > VIEW:
        return []
    forest, alone = {"forest": TREES}, {"forest": TREES, "forest_share": 1.0}
    both = {**forest, "linear": 0.3}
    tried: list[tuple[str, dict[str, float]]] = [
        ("their network, a regression and a forest alike", {**both, "linear_share": 1 / 3, "forest_share": 1 / 3}),
        ("a regression and a forest", {**both, "linear_share": 0.5, "forest_share": 0.5}),
        ("a forest", alone),
    ]
    # Concatenation has the layer that is fitted to what they say.
    return [
        Change(f"devices judged by {judges}", {"network": {"device": device, "local_fusion": "concat"}})
        for judges, device in tried
    ]


def _tails(view: Array, train: Bools) -> bool:
    """Whether a channel of the training events has heavy tails; a few thousand numbers say so."""
    if view.dtype == np.uint8:
        return False
    rows = np.flatnonzero(train)
    rows = rows[:: max(len(rows) * math.prod(view.shape[1:]) // MOST, 1)]
    values = np.moveaxis(view[rows], 1, -1).reshape(-1, view.shape[1])
    _, _, deviation = finite_moments(values, (0,))
    return bool(heavy_tails(deviation, middle_deviation(*finite_quantiles(values, SIDES))).any())


def _bins(tiers: Sequence[str], bins: int) -> Document:
    return {"network": {tier: {"bins": bins} for tier in tiers}}


def savings(config: Config) -> list[Change]:
    """What makes messages smaller, tried last: what judges by fine differences may need every bit."""
    if not config.network.device.pass_on or config.network.device.cut_codec != "float16":
        return []
    bits = {tier: {"cut_codec": "bits8"} for tier in ("device", "edge")}
    return [Change("8 bits a number on the wire", {"network": bits}, -0.001)]
