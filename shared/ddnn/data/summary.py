"""What a person should know of a data set before a network is trained on it; shared/docs/data.md says why.

An event has a near-duplicate when the nearest training event of its class is much nearer than both the nearest of any
other class and the typical one of its own. Legend: N events, D devices, F elements of all views together.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ddnn.data.dataset import Dataset
from ddnn.data.moments import SIDES, finite_moments, finite_quantiles, heavy_tails, middle_deviation
from ddnn.data.oddities import few, oddities
from ddnn.data.split import SPLIT_NAMES
from ddnn.data.stored import at_once, in_file
from ddnn.formatting import count, percent
from ddnn.types import Array, Floats, Ints

__all__ = ["WORRYING", "Rows", "Standard", "describe", "doubts", "left_out", "near_duplicates", "squared_distances"]

CHANNELS: Final = (1, 3, 4)  #: grey, colour, colour and alpha (or depth)
CHUNK: Final = 2048  #: events standardised at a time, so that memory stays bounded however many there are
_MEASURED: Final = 4096  #: events, evenly spaced, that means and deviations are taken of
_LOOKED_AT: Final = 2**19  #: values that quantiles are taken of
FAR: Final = 5.0  #: deviations, beyond which all values of a channel with heavy tails are as far
WORRYING: Final = 0.05  #: share of test events with a near-duplicate in training above which a result should be doubted
OTHER_CLASS: Final = 0.3
"""A near-duplicate is nearer than this share of the distance to the nearest event of another class…"""
OWN_CLASS: Final = 0.4  #: …and than this share of the median distance to events of its own class
ELEMENTS: Final = 1024  #: how many of an event's numbers are compared
FEWEST_ELEMENTS: Final = 16  #: with fewer numbers an event, near neighbours are the rule
TYPICAL: Final = 100  #: training events of each class, evenly spaced, that the median is taken of


def describe(data: Dataset) -> str:
    """Events, how they are split, devices, views and classes in one line."""
    kinds = Counter(f"{_times(view.shape[1:])} {view.dtype}" for view in data.views)
    views = ", ".join(f"{count} of {kind}" for kind, count in kinds.items())
    parts = ", ".join(f"{np.count_nonzero(data.split == part)} {part}" for part in SPLIT_NAMES)
    division, groups = f"test {data.division.get('test', 'as it came')}", data.division.get("groups")
    if groups:
        division += f": {few(groups['test'])}, validation {few(groups['validation'])}"
    classes = f"{len(data.classes)} classes ({few(data.classes)})"
    return f"{data.name}: {len(data)} events ({parts}; {division}), {data.devices} devices (views: {views}), {classes}"


def doubts(data: Dataset) -> list[str]:
    """A sentence for everything that the contract allows and that is more likely a mistake."""
    found = [left_out(data)] if data.odd else []
    if data.unlabelled:
        found.append(f"{count(data.unlabelled, 'event')} without a label (y is -1) left out")
    empty = sorted(set(range(len(data.classes))) - set(np.unique(data.y).tolist()))
    if empty:
        names = few([data.classes[label] for label in empty])
        found.append(
            f"no event has class {names}; expected labels 0..{len(data.classes) - 1} that all occur, "
            "as an empty class still takes a place in the network"
        )
    last = [device for device, view in enumerate(data.views) if _channels_last(view.shape[1:])]
    if last:
        shape = _times(data.views[last[0]].shape[1:])
        found.append(
            f"views of device {few(last)} have shape {shape}, which looks like (H, W, C); expected "
            "(C, H, W), as numpy.moveaxis(views, -1, -3) makes it"
        )
    found += oddities(data)
    near = near_duplicates(data)
    if near is not None and near > WORRYING:
        found.append(
            f"{percent(near, 0)} of the test events have a near-duplicate in training, so accuracy will look better "
            "than it is; expected groups that stay whole: --group-by subject, or --group-by time:60 for blocks of time"
        )
    return found


def left_out(data: Dataset) -> str:
    """How many files of the source are no events, and the first of them."""
    return f"{count(len(data.odd), 'file')} left out: {few(data.odd)}"


def _channels_last(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[2] in CHANNELS and shape[0] not in CHANNELS and shape[0] > shape[2]


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


@dataclass(frozen=True)
class Rows:
    """Some events, standardised."""

    values: Floats  #: (N, F), zero where the view is absent, or a number of it missing
    seen: Floats  #: (N, D), 1 where the device has a view, else 0
    sizes: Floats  #: (D,), elements of each device's view among the F

    @property
    def energy(self) -> Floats:
        """(N, D), the sum of squares of each view."""
        ends = np.cumsum(self.sizes).astype(int)[:-1]
        return np.stack([np.einsum("nf,nf->n", v, v) for v in np.split(self.values, ends, axis=1)], axis=1)


class Standard:
    """Makes rows of events, standardised by device and channel, of at most `elements` of the F, evenly spaced.

    Where `clipped`, values of a channel with heavy tails are at most `FAR` from its middle.
    """

    def __init__(self, data: Dataset, *, elements: int | None = None, clipped: bool = True) -> None:
        self._clipped = clipped
        sizes = [int(np.prod(view.shape[1:])) for view in data.views]
        share = 1.0 if elements is None else min(elements / sum(sizes), 1.0)
        rows = np.unique(np.linspace(0, len(data) - 1, min(len(data), at_once(data.views, _MEASURED))).astype(int))
        self.picked = [np.linspace(0, size - 1, max(round(share * size), 1)).astype(int) for size in sizes]
        self.sizes = np.array([len(picked) for picked in self.picked], np.float32)
        self._scales = [
            tuple(moment.reshape(-1)[picked] for moment in _moments(view[rows][data.present[rows, device]]))
            for device, (view, picked) in enumerate(zip(data.views, self.picked, strict=True))
        ]

    def __call__(self, data: Dataset, rows: slice | Array = slice(None)) -> Rows:
        """The events of `data` at `rows`, with the devices this was made from."""
        seen, values = data.present[rows], []
        for device, (view, (mean, deviation, limit)) in enumerate(zip(data.views, self._scales, strict=True)):
            flat = (_picked(view, rows, self.picked[device]) - mean) / deviation
            if self._clipped and np.isfinite(limit).any():
                flat = np.clip(flat, -limit, limit, where=np.isfinite(flat), out=flat)
            values.append(np.where(seen[:, device, None] & np.isfinite(flat), flat, np.float32(0)))
        return Rows(np.concatenate(values, axis=1), seen.astype(np.float32), self.sizes)


def _picked(view: Array, rows: slice | Array, elements: Array) -> Array:
    """(n, f) some elements of the views at `rows`; of those in a file only so many views are in memory at once."""
    if not in_file(view):
        part = view[rows]
        return np.asarray(part.reshape(len(part), -1)[:, elements])
    index, step = np.arange(len(view))[rows], at_once([view], len(view))
    parts = (view[index[start : start + step]] for start in range(0, len(index), step))
    return np.concatenate([part.reshape(len(part), -1)[:, elements] for part in parts])


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
    """Mean, deviation and limit in deviations (*shape,) of each channel of views (N, *shape).

    An element of a vector is its own channel. Only a channel with heavy tails has a limit, and its middle's deviation.
    """
    axes = (0, *range(2, view.ndim))
    if not len(view):
        return tuple(np.full(view.shape[1:], value, np.float32) for value in (0.0, 1.0, np.inf))
    _, mean, deviation = finite_moments(view, axes)
    limit = np.full_like(mean, np.inf)
    if view.dtype.kind == "f":
        values = np.moveaxis(view[:: max(view.size // _LOOKED_AT, 1)], 1, -1).reshape(-1, view.shape[1])
        low, median, high = finite_quantiles(values, (SIDES[0], 0.5, SIDES[1]))
        middle = middle_deviation(low, high)
        heavy = heavy_tails(deviation, middle)
        robust = zip((median, middle, FAR), (mean, deviation, limit), strict=True)
        mean, deviation, limit = (np.where(heavy, one, other) for one, other in robust)
    deviation, each = np.where(deviation > 0, deviation, 1.0), (1, -1, *[1] * (view.ndim - 2))
    return tuple(
        np.broadcast_to(m.reshape(each), (1, *view.shape[1:])).astype(np.float32) for m in (mean, deviation, limit)
    )


def near_duplicates(data: Dataset, *, events: int = 500, seed: int = 0) -> float | None:
    """Share of at most `events` test events with a near-duplicate in training; None where it cannot be told."""
    split = np.asarray(data.split)
    train, test = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
    if not len(train) or not len(test) or sum(int(np.prod(view.shape[1:])) for view in data.views) < FEWEST_ELEMENTS:
        return None
    chosen = np.sort(np.random.default_rng(seed).permutation(test)[:events])
    standard = Standard(data.take(_spread(train, CHUNK)), elements=ELEMENTS)
    asked, y = standard(data, chosen), data.y[chosen]
    own, other = (np.full(len(chosen), np.inf, np.float32) for _ in range(2))
    for start in range(0, len(train), CHUNK):
        rows = train[start : start + CHUNK]
        distances = squared_distances(asked, standard(data, rows))
        same = y[:, None] == data.y[rows]
        own = np.minimum(own, np.where(same, distances, np.inf).min(axis=1))
        other = np.minimum(other, np.where(same, np.inf, distances).min(axis=1))
    typical = np.full(len(chosen), np.inf, np.float32)
    for label in np.unique(y):
        of_class, asking = _spread(train[data.y[train] == label], TYPICAL), y == label
        if len(of_class):
            typical[asking] = _median(squared_distances(standard(data, chosen[asking]), standard(data, of_class)))
    return float(((own < OTHER_CLASS**2 * other) & (own < OWN_CLASS**2 * typical)).mean())


def _median(distances: Floats) -> Floats:
    """(N,) median over the second axis of those that are finite; infinity where none is."""
    ordered = np.sort(distances, axis=1)
    finite = np.isfinite(ordered).sum(axis=1)
    return np.asarray(ordered[np.arange(len(ordered)), np.maximum(finite - 1, 0) // 2])


def _spread(rows: Ints, count: int) -> Ints:
    """At most `count` of `rows`, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(int))] if len(rows) else rows
