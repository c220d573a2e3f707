"""Golden events: a few real ones with what torch says of them at every exit."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from ddnn.data import Dataset
from ddnn.network import DDNN, Scored
from ddnn.network.sign import Sign
from ddnn.types import Array, Bits, Bools, Ints, pack_bits

__all__ = ["MARGIN", "answers", "bits", "choose", "clear_events", "golden", "ties"]

MARGIN: Final = 1e-4
"""A value before the sign closer to zero than this is a tie: rounding may turn its bit."""
INNER_MARGIN: Final = 1e-5
"""The same inside a section; ten times what rounding was seen to do, and narrow enough to leave most events."""
BATCH: Final = 256


def choose(y: Ints, count: int, seed: int) -> Ints:
    """At most `count` rows, the same number of each class as far as there are, ascending."""
    random = np.random.default_rng(seed)
    rank = np.empty(len(y))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        rank[random.permutation(rows)] = np.arange(len(rows)) + random.random()  # spread a last, partial round
    return np.sort(np.argsort(rank, kind="stable")[:count])


def clear_events(network: DDNN, views: Sequence[Array], present: Array) -> Bools:
    """Events (N,) in which no value before a sign *inside* a section is so close to zero that rounding may turn it.

    Only binary blocks have such signs, and exits that see the features. Where one turns, scores jump, and neither torch
    nor ONNX Runtime is wrong.
    """
    nearest: list[Tensor] = []

    def look(module: nn.Module, values: tuple[Tensor]) -> None:
        each = values[0].abs().flatten(1).amin(dim=1)
        # A section that all devices share ran on all their views in one batch.
        nearest.append(each.reshape(-1, min(BATCH, len(present) - start)).amin(dim=0))

    hooks = [module.register_forward_pre_hook(look) for module in network.modules() if isinstance(module, Sign)]
    clear = np.ones(len(present), dtype=bool)
    for start in range(0, len(present) if hooks else 0, BATCH):
        rows = slice(start, start + BATCH)
        answers(network, [view[rows] for view in views], present[rows])
        clear[rows] = (torch.stack(nearest).amin(dim=0) > INNER_MARGIN).numpy()
        nearest.clear()
    for hook in hooks:
        hook.remove()
    return clear


def answers(network: DDNN, views: Sequence[Array], present: Array) -> Scored:
    """What torch says of events (N, …), on the CPU."""
    tensors, mask = [torch.from_numpy(np.ascontiguousarray(view)) for view in views], torch.from_numpy(present)
    with torch.no_grad():
        parts = [
            network([view[i : i + BATCH] for view in tensors], mask[i : i + BATCH]) for i in range(0, len(mask), BATCH)
        ]
    return Scored._make(None if part[0] is None else torch.cat(part) for part in zip(*parts, strict=True))


def bits(cut: Tensor) -> Bits:
    """Features before their sign (N, n, *cut) → 0 and 1 (N, n, bits)."""
    return (cut >= 0).flatten(2).to(torch.uint8).numpy()


def ties(cut: Tensor) -> Bits:
    """1 where the value before the sign is too close to zero to be sure of its bit, (N, n, bits)."""
    return (cut.abs() < MARGIN).flatten(2).to(torch.uint8).numpy()


def golden(network: DDNN, test: Dataset, count: int, seed: int) -> dict[str, Array]:
    """The arrays of `golden.npz`, as `ddnn.bundle.Bundle.golden` lists them.

    Events that no device sees are passed over, and, if there are others, those in which rounding may turn a sign
    inside a section: a tier tests itself on the golden ones at every start, on whatever CPU it runs.
    """
    seen = np.asarray(test.present.any(axis=1))
    clear = clear_events(network, test.views, test.present) & seen
    pool = test.take(np.flatnonzero(clear if clear.any() else seen))
    events = pool.take(choose(pool.y, count, seed))
    scored = answers(network, events.views, events.present)
    arrays: dict[str, Array] = {
        "index": events.index,
        "y": events.y,
        "y_dev": events.y_dev,
        **{f"view_{i}": view for i, view in enumerate(events.views)},
        "present": events.present,
        "cloud_scores": scored.cloud.numpy(),
    }
    for exit in ("device", "local", "edge"):
        if (scores := getattr(scored, exit)) is not None:
            arrays[f"{exit}_scores"] = scores.numpy()
    for tier, cut in (("device", scored.device_cuts), ("edge", scored.edge_cuts)):
        if cut is not None:
            arrays[f"{tier}_features"], arrays[f"{tier}_ties"] = pack_bits(bits(cut)), pack_bits(ties(cut))
    return arrays
