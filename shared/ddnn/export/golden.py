"""Golden events: a few real ones with what torch says of them at every exit."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from ddnn.data import Dataset
from ddnn.network import DDNN, Scored
from ddnn.types import Array, Bits, Ints, pack_bits

__all__ = ["MARGIN", "answers", "bits", "choose", "golden", "ties"]

MARGIN: Final = 1e-4
"""A value before the sign closer to zero than this is a tie: rounding may turn its bit."""


def choose(y: Ints, count: int, seed: int) -> Ints:
    """At most `count` rows, the same number of each class as far as there are, ascending."""
    random = np.random.default_rng(seed)
    rank = np.empty(len(y))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        rank[random.permutation(rows)] = np.arange(len(rows)) + random.random()  # spread a last, partial round
    return np.sort(np.argsort(rank, kind="stable")[:count])


def answers(network: DDNN, views: Sequence[Array], present: Array, batch: int = 256) -> Scored:
    """What torch says of events (N, …), on the CPU."""
    tensors, mask = [torch.from_numpy(np.ascontiguousarray(view)) for view in views], torch.from_numpy(present)
    with torch.no_grad():
        parts = [
            network([view[i : i + batch] for view in tensors], mask[i : i + batch]) for i in range(0, len(mask), batch)
        ]
    edge = [part.edge for part in parts if part.edge is not None]
    edge_cuts = [part.edge_cuts for part in parts if part.edge_cuts is not None]
    return Scored(
        device=torch.cat([part.device for part in parts]),
        local=torch.cat([part.local for part in parts]),
        edge=torch.cat(edge) if edge else None,
        cloud=torch.cat([part.cloud for part in parts]),
        device_cuts=torch.cat([part.device_cuts for part in parts]),
        edge_cuts=torch.cat(edge_cuts) if edge_cuts else None,
    )


def bits(cut: Tensor) -> Bits:
    """Features before their sign (N, n, *cut) → 0 and 1 (N, n, bits)."""
    return (cut >= 0).flatten(2).to(torch.uint8).numpy()


def ties(cut: Tensor) -> Bits:
    """1 where the value before the sign is too close to zero to be sure of its bit, (N, n, bits)."""
    return (cut.abs() < MARGIN).flatten(2).to(torch.uint8).numpy()


def golden(network: DDNN, test: Dataset, count: int, seed: int) -> dict[str, Array]:
    """The arrays of `golden.npz`, as `ddnn.bundle.Bundle.golden` lists them."""
    events = test.take(choose(test.y, count, seed))
    scored = answers(network, events.views, events.present)
    arrays: dict[str, Array] = {
        "index": events.index,
        "y": events.y,
        "y_dev": events.y_dev,
        **{f"view_{i}": view for i, view in enumerate(events.views)},
        "present": events.present,
        "device_scores": scored.device.numpy(),
        "device_features": pack_bits(bits(scored.device_cuts)),
        "device_ties": pack_bits(ties(scored.device_cuts)),
        "local_scores": scored.local.numpy(),
        "cloud_scores": scored.cloud.numpy(),
    }
    if scored.edge is not None and scored.edge_cuts is not None:
        arrays["edge_scores"] = scored.edge.numpy()
        arrays["edge_features"] = pack_bits(bits(scored.edge_cuts))
        arrays["edge_ties"] = pack_bits(ties(scored.edge_cuts))
    return arrays
