"""Whether test events have near-duplicates in training: the same object a moment later is no test.

A test event has one when the nearest training event of its class is much nearer than both the nearest of any other
class and the typical one of its own. The numbers were chosen on real data, see shared/docs/data.md.
"""

from typing import Final

import numpy as np

from ddnn.data.dataset import Dataset
from ddnn.data.standard import CHUNK, Standard, squared_distances
from ddnn.types import Floats, Ints

__all__ = ["WORRYING", "near_duplicates"]

WORRYING: Final = 0.05
"""Share of test events with a near-duplicate in training above which a result should be doubted."""
OTHER_CLASS: Final = 0.3
"""A near-duplicate is nearer than this share of the distance to the nearest event of another class…"""
OWN_CLASS: Final = 0.4
"""…and than this share of the median distance to events of its own class."""
ELEMENTS: Final = 1024
"""How many of an event's numbers are compared."""
FEWEST_ELEMENTS: Final = 16
"""With fewer numbers an event, near neighbours are the rule."""
TYPICAL: Final = 100
"""Training events of each class, evenly spaced, that the median is taken of."""


def near_duplicates(data: Dataset, *, events: int = 500, seed: int = 0) -> float | None:
    """Share of test events with a near-duplicate in training, of a sample of at most `events` of them.

    None where it cannot be told: no test or training events, or fewer than 16 numbers an event.
    """
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
        of_class = _spread(train[data.y[train] == label], TYPICAL)
        asking = y == label
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
