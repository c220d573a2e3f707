"""Events as rows of numbers: standardised views side by side, for whatever compares or weighs pixels.

Legend: N events, D devices, F elements of all views together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ddnn.data.dataset import Dataset
from ddnn.types import Array, Floats

__all__ = ["CHUNK", "Rows", "Standard", "squared_distances"]

CHUNK: Final = 2048
"""Events standardised at a time, so that memory stays bounded however many there are."""
_MEASURED: Final = 4096
"""Events, evenly spaced, that means and deviations are taken of."""


@dataclass(frozen=True)
class Rows:
    """Some events, standardised."""

    values: Floats
    """(N, F), zero where the view is absent."""
    seen: Floats
    """(N, D), 1 where the device has a view, else 0."""
    sizes: Floats
    """(D,), elements of each device's view among the F."""

    @property
    def energy(self) -> Floats:
        """(N, D), the sum of squares of each view."""
        ends = np.cumsum(self.sizes).astype(int)[:-1]
        return np.stack([np.einsum("nf,nf->n", v, v) for v in np.split(self.values, ends, axis=1)], axis=1)


class Standard:
    """Makes rows of events: per device and channel, the mean and deviation of the present views it was made from.

    At most `elements` of the F are kept, evenly spaced in each view; all when it is None.
    """

    def __init__(self, data: Dataset, *, elements: int | None = None) -> None:
        sizes = [int(np.prod(view.shape[1:])) for view in data.views]
        share = 1.0 if elements is None else min(elements / sum(sizes), 1.0)
        rows = np.unique(np.linspace(0, len(data) - 1, min(len(data), _MEASURED)).astype(int))
        self.picked = [np.linspace(0, size - 1, max(round(share * size), 1)).astype(int) for size in sizes]
        self.sizes = np.array([len(picked) for picked in self.picked], np.float32)
        self._scales = [
            tuple(moment.reshape(-1)[picked] for moment in _moments(view[rows][data.present[rows, device]]))
            for device, (view, picked) in enumerate(zip(data.views, self.picked, strict=True))
        ]

    def __call__(self, data: Dataset, rows: slice | Array = slice(None)) -> Rows:
        """The events of `data` at `rows`, with the devices this was made from."""
        seen, values = data.present[rows], []
        for device, (view, (mean, deviation)) in enumerate(zip(data.views, self._scales, strict=True)):
            part = view[rows]
            flat = (part.reshape(len(part), -1)[:, self.picked[device]] - mean) / deviation
            values.append(np.where(seen[:, device, None], flat, np.float32(0)))
        return Rows(np.concatenate(values, axis=1), seen.astype(np.float32), self.sizes)


def squared_distances(a: Rows, b: Rows) -> Floats:
    """(Na, Nb): mean squared difference over the elements that both events have, infinity where they share no view."""
    sums = -2 * (a.values @ b.values.T)
    sums += (a.energy * a.seen) @ b.seen.T
    sums += a.seen @ (b.energy * b.seen).T
    np.maximum(sums, 0, out=sums)  # rounding, where two are the same
    shared = (a.seen * a.sizes) @ b.seen.T
    with np.errstate(divide="ignore", invalid="ignore"):
        sums /= shared
    sums[shared == 0] = np.inf
    return sums


def _moments(view: Array) -> Sequence[Floats]:
    """Mean and deviation (*shape,) of each channel of views (N, *shape); an element of a vector is its own channel."""
    axes = (0, *range(2, view.ndim))
    if not len(view):
        return np.zeros(view.shape[1:], np.float32), np.ones(view.shape[1:], np.float32)
    mean, deviation = (
        view.mean(axis=axes, keepdims=True, dtype=np.float64),
        view.std(axis=axes, keepdims=True, dtype=np.float64),
    )
    deviation = np.where(deviation > 0, deviation, 1.0)
    return tuple(np.broadcast_to(m, (1, *view.shape[1:])).astype(np.float32) for m in (mean, deviation))
