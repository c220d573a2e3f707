"""Updates of a few entries: those beyond a threshold, one bit and an index each; the rest is kept (Strom 2015)."""

import torch
from torch import Tensor

__all__ = ["Threshold", "expanded"]


class Threshold:
    """What of updates (m,) has not been sent, and what of it is to be.

    Sent and kept add up to the sum of the updates: sums are of double precision, in which a few million single ones
    add up exactly.

    Args:
        count: m.
        threshold: τ; an entry beyond it is sent as ±τ.
    """

    def __init__(self, count: int, threshold: float) -> None:
        self.threshold = float(torch.tensor(threshold, dtype=torch.float32))
        self.kept = torch.zeros(count, dtype=torch.float64)
        """(m,)."""

    def take(self, update: Tensor) -> Tensor:
        """Add an update; give what goes out of all that was kept: (k,) int32, an index, its complement for −τ."""
        self.kept += update.double()
        index = torch.nonzero(self.kept.abs() > self.threshold).flatten()
        positive = self.kept[index] > 0
        self.kept[index] -= torch.where(positive, self.threshold, -self.threshold)
        return torch.where(positive, index, ~index).to(torch.int32)


def expanded(entries: Tensor, count: int, threshold: float) -> Tensor:
    """What was sent as (k,) → the update (m,)."""
    update, negative = torch.zeros(count), entries < 0
    index = torch.where(negative, ~entries, entries).to(torch.int64)
    update[index] = torch.where(negative, -threshold, threshold).to(torch.float32)
    return update
