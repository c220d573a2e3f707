"""The class of the nearest training event, pixel by pixel: how far memory alone goes."""

from typing import Final

import numpy as np

from ddnn.data import Dataset
from ddnn.data.standard import CHUNK, Standard, squared_distances
from ddnn.types import Floats, Ints

__all__ = ["MOST", "nearest"]

MOST: Final = 60_000
"""Training events compared, at most."""


def nearest(data: Dataset, *, part: str = "test", most: int = MOST, seed: int = 0) -> Ints:
    """(N,) labels of the events of `part`: that of the training event nearest over all standardised views.

    The distance is the mean over the views that both events have. Of more than `most` training events, so many are
    drawn by `seed`; a report should say so. An event that shares no view with any takes the first one's class.
    """
    train, asked = data.subset("train"), data.subset(part)
    if len(train) > most:
        train = train.take(np.sort(np.random.default_rng(seed).permutation(len(train))[:most]))
    standard = Standard(train)
    best: Floats = np.full(len(asked), np.inf, np.float32)
    label = np.full(len(asked), train.y[0], np.int64)
    queries = [slice(start, start + CHUNK) for start in range(0, len(asked), CHUNK)]
    rows = [standard(asked, query) for query in queries]
    for start in range(0, len(train), CHUNK):
        known = standard(train, slice(start, start + CHUNK))
        for query, wanted in zip(queries, rows, strict=True):
            distances = squared_distances(wanted, known)
            found = distances.argmin(axis=1)
            near = np.take_along_axis(distances, found[:, None], axis=1)[:, 0]
            nearer = near < best[query]
            best[query] = np.where(nearer, near, best[query])
            label[query] = np.where(nearer, train.y[start + found], label[query])
    return label
