"""Scores made up for tests: exits know the class better the higher they are, and are surer where they are right."""

import numpy as np

from ddnn.evaluation import Scores
from ddnn.topology import Features, Topology, View
from ddnn.types import Floats

__all__ = ["CLASSES", "make_scores", "make_topology"]

CLASSES = 4


def make_topology(devices: int, edges: int, section: bool, bits: tuple[int, int] = (20, 9)) -> Topology:
    """A topology of `devices` devices dealt to `edges` edges; `section`: the edges have one; `bits` at the two cuts."""
    groups = np.array_split(np.arange(devices), edges)
    return Topology.tiered(
        [View(shape=(4,), dtype="FP32")] * devices,
        [group.tolist() for group in groups],
        Features(shape=bits[:1]),
        Features(shape=bits[1:]) if section else None,
    )


def make_scores(
    events: int,
    *,
    devices: int = 2,
    edges: int = 1,
    section: bool = True,
    seed: int = 0,
    strength: float = 1.0,
    bits: tuple[int, int] = (20, 9),
) -> Scores:
    """Scores of `events` events, all devices there; the more `strength`, the fewer errors."""
    rng = np.random.default_rng(seed)
    y = rng.integers(CLASSES, size=events)
    hard = rng.random(events)[:, None]

    def at(width: int, skill: float) -> Floats:
        noise = rng.normal(size=(events, width, CLASSES))
        signal = np.eye(CLASSES)[y][:, None] * skill * strength * 4 * (1 - hard[..., None])
        return (noise + signal).astype(np.float32)

    return Scores(
        device=at(devices, 0.5),
        local=at(edges, 0.8),
        edge=at(edges, 1.0) if section else None,
        cloud=at(1, 1.5)[:, 0],
        present=np.ones((events, devices), np.bool_),
        y=y,
        y_dev=np.repeat(y[:, None], devices, axis=1),
        topology=make_topology(devices, edges, section, bits),
        source={"data": "made", "fingerprint": "f", "split": "validation"},
    )
