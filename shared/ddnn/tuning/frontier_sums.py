"""A sum over events at very many combinations of thresholds at once, by cumulative sums.

Legend: N events, m exits asked in turn below the cloud. An event answers at exit x iff `place[x]` is at most the index
of that exit's threshold, and goes on otherwise; indices count the thresholds of an exit upwards.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from ddnn.types import Array, Ints

__all__ = ["Sums"]


class Sums:
    """Σ over events of the weight of the exit that answers.

    W(t) = Σ w_m + Σ_x Σ {w_x − w_m : the event passes every exit before x and answers there}: each exit's part is a
    histogram of the events over its own and all earlier indices, cumulated downwards along the earlier ones (passing)
    and upwards along its own (answering).
    """

    def __init__(self, places: Sequence[Ints], weights: Ints) -> None:
        """`places` has m arrays (N,), `weights` is (N, m + 1) of whole numbers whose sums stay below 2⁵³."""
        self._base = int(weights[:, -1].sum())
        self._parts: list[tuple[list[Ints], Ints]] = []
        for exit in range(len(places)):
            gain = weights[:, exit] - weights[:, -1]
            rows = np.flatnonzero(gain)
            self._parts.append(([place[rows] for place in places[: exit + 1]], gain[rows]))

    def over(self, start: Sequence[int], shape: Sequence[int]) -> Ints:
        """W at every combination of indices in the window from `start`: `shape`, one axis an exit."""
        total = np.full(tuple(shape), self._base, np.int64)
        for exit, (places, gain) in enumerate(self._parts):
            part = _histogram(places, gain, start, shape)
            for axis in range(exit):
                _pass(part, axis)
                part = part[(slice(None),) * axis + (slice(1, None),)]  # index above j, so from j + 1
            part = np.cumsum(part[..., :-1], axis=exit)
            total += part.reshape(part.shape + (1,) * (len(shape) - exit - 1))
        return total


def _histogram(places: list[Ints], gain: Ints, start: Sequence[int], shape: Sequence[int]) -> Ints:
    """Sums of `gain` by index, those below the window in its first cells, those above in one more cell an axis."""
    sizes = [size + 1 for size in shape[: len(places)]]
    cell = np.zeros(len(gain), np.int64)
    for place, low, size in zip(places, start, sizes, strict=False):
        cell = cell * size + np.clip(place - low, 0, size - 1)
    sums = np.bincount(cell, gain, minlength=prod(sizes)).reshape(sizes)
    return np.asarray(sums.astype(np.int64))


def _pass(part: Array, axis: int) -> None:
    """Cumulate downwards along `axis`, in place; plane by plane, which is many times faster than along the axis."""
    planes = np.moveaxis(part, axis, 0)
    for index in range(len(planes) - 2, -1, -1):
        planes[index] += planes[index + 1]
