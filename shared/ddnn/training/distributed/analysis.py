"""What of a network is exchanged, how much work it is, and how much of it may go on at once.

Legend: P workers, m values, b = 4 bytes a value, α seconds a message, β seconds a byte.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch.utils.flop_counter import FlopCounterMode

from ddnn.bundle import Bundle
from ddnn.network import DDNN, Plan
from ddnn.topology import View
from ddnn.training.config import Config
from ddnn.training.distributed.cost import Model
from ddnn.training.initial import statistics_of

__all__ = ["ALL_REDUCE", "Link", "Work", "model_of", "network_of", "work_of"]

PASSES: Final = 3
"""A training step is a forward pass and a backward one, which is about two."""


def network_of(bundle: Bundle) -> DDNN:
    """The network of a bundle, without its weights."""
    config = Config.of(bundle.manifest.training.config)
    views = [device.view for device in bundle.topology.devices]
    return DDNN(Plan.of(config.network, views, len(bundle.manifest.classes)))


def model_of(network: DDNN, *, moments: bool = True) -> Model:
    """What of it is exchanged, with the two moments that AdamW has of each weight, or without."""
    learning = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
    return Model(learning, sum(each.numel() for each in statistics_of(network)), 2 * learning * moments)


@dataclass(frozen=True)
class Work:
    """Floating-point operations of one event, forward, and what of them must wait for what (Ben-Nun, Hoefler 2019)."""

    devices: Sequence[int]
    edges: Sequence[int]
    cloud: int

    @property
    def whole(self) -> int:
        """W."""
        return sum(self.devices) + sum(self.edges) + self.cloud

    @property
    def depth(self) -> int:
        """D, in operations: the slowest device, then the slowest edge, then the cloud."""
        return max(self.devices, default=0) + max(self.edges, default=0) + self.cloud

    @property
    def parallelism(self) -> float:
        """W/D: what sections on machines of their own could gain, were nothing to be sent."""
        return self.whole / max(self.depth, 1)

    @property
    def pipeline(self) -> float:
        """W over the largest section: what a full pipeline of such machines could gain."""
        return self.whole / max(*self.devices, *self.edges, self.cloud, 1)


def work_of(network: DDNN, views: Sequence[View]) -> Work:
    """Count the operations of each section on one event."""
    event = [
        torch.zeros(1, *view.shape, dtype=torch.uint8 if view.dtype == "UINT8" else torch.float32) for view in views
    ]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(event, torch.ones(1, len(views), dtype=torch.bool))
    counts = {name: sum(each.values()) for name, each in counter.get_flop_counts().items()}

    def of(kind: str, count: int) -> list[int]:
        return [counts.get(f"DDNN.{kind}.{index}", 0) for index in range(count)]

    devices = of("devices", len(network.devices))
    if len(devices) == 1 < len(views):  # one section for all
        devices = [devices[0] // len(views)] * len(views)
    return Work(devices, of("edges", len(network.edges)), counts.get("DDNN.cloud", 0))


@dataclass(frozen=True)
class Link:
    """α and β."""

    latency_s: float
    byte_s: float


Seconds = Callable[[int, float, Link], float]

ALL_REDUCE: Final[dict[str, tuple[str, Callable[[int], float], Seconds]]] = {
    "server": (
        "2 P (α + b m β)",
        lambda p: 1.0,
        lambda p, size, link: 2 * p * (link.latency_s + size * link.byte_s),
    ),
    "tree": (
        "2 ⌈log₂ P⌉ (α + b m β)",
        lambda p: 1.0,
        lambda p, size, link: 2 * math.ceil(math.log2(p)) * (link.latency_s + size * link.byte_s),
    ),
    "ring": (
        "2 (P−1) α + 2 (P−1)/P b m β",
        lambda p: 2 * (p - 1) / p,
        lambda p, size, link: 2 * (p - 1) * link.latency_s + 2 * (p - 1) / p * size * link.byte_s,
    ),
    "rabenseifner": (
        "2 ⌈log₂ P⌉ α + 2 (P−1)/P b m β",
        lambda p: 2 * (p - 1) / p,
        lambda p, size, link: 2 * math.ceil(math.log2(p)) * link.latency_s + 2 * (p - 1) / p * size * link.byte_s,
    ),
}
"""Ways to sum b m bytes over P: worst time, what a worker sends as a share of b m, and seconds. The standard model."""
