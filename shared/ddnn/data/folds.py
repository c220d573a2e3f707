"""Folds of the events that are not tested: groups stay whole, and without groups stretches of the file do.

Events that follow each other in a file are often alike in what a fleet will not meet again (a day, a calibration). A
fold that is a stretch of them asks for what comes next; where the order means nothing, it is as good as a random one.
"""

from dataclasses import replace

import numpy as np

from ddnn.data import Dataset
from ddnn.types import Array, Ints

__all__ = ["folded"]


def folded(data: Dataset, count: int, *, most: int, seed: int) -> list[Dataset]:
    """`count` data sets of the training and validation events, each with another fold as its validation.

    Of more than `most` events so many are taken, evenly.
    """
    rows = np.flatnonzero(data.split != "test")
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64)]
    kept = data.take(rows)
    fold = _of_groups(kept.groups, count, seed) if kept.groups is not None else _of_stretches(kept.y, count)
    found = []
    for index in range(int(fold.max()) + 1):
        split = np.where(fold == index, "validation", "train")
        if len(np.unique(kept.y[split == "train"])) > 1:
            found.append(replace(kept, split=split))
    return found


def _of_groups(groups: Array, count: int, seed: int) -> Ints:
    """(N,) fold of each event, dealt by group."""
    names, of_event = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    return np.asarray((order * min(count, len(names)) // len(names))[of_event.reshape(-1)])


def _of_stretches(y: Ints, count: int) -> Ints:
    """(N,) fold of each event: each class's events, in their order, cut into as many stretches."""
    fold = np.zeros(len(y), np.int64)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        fold[rows] = np.arange(len(rows)) * count // len(rows)
    return fold
