"""Classifiers that are no networks, which a result should be compared with, on the same events.

Each answers the events of one split with labels (N,). Pixels are standardised by device and channel.
Legend: N events, D devices, F elements of all views together.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from ddnn.data import Dataset
from ddnn.data.summary import Standard
from ddnn.types import Array, Floats, Ints

__all__ = ["MOST", "STRENGTHS", "linear", "linear_alone", "majority", "nearest", "presence"]

STRENGTHS: Final = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Ridge penalties tried on validation, as shares of the mean variance of an element."""
ELEMENTS: Final = 4096
"""Kept of an event's elements by `linear`, evenly spaced, when there are more training events than these."""
MOST: Final = 60_000  #: training events that `nearest` compares, at most


def majority(data: Dataset, *, part: str = "test") -> Ints:
    """The class that training holds most of, whatever is seen: the floor under every accuracy."""
    y = data.subset("train").y
    return np.asarray(DummyClassifier(strategy="most_frequent").fit(y, y).predict(data.subset(part).y))


def presence(data: Dataset, *, part: str = "test") -> Ints:
    """The most frequent class of the training events that the same devices see: how much absence alone gives away.

    A mask that training does not have takes the masks that differ from it in the fewest devices, counted together. The
    lowest of equal classes.
    """
    train, asked = data.subset("train"), data.subset(part)
    masks, of_event = np.unique(train.present, axis=0, return_inverse=True)
    counts = np.zeros((len(masks), len(data.classes)), np.int64)
    np.add.at(counts, (of_event.reshape(-1), train.y), 1)
    patterns, back = np.unique(asked.present, axis=0, return_inverse=True)
    apart = (patterns[:, None] != masks).sum(axis=2)
    closest = apart == apart.min(axis=1, keepdims=True)
    return np.asarray((closest.astype(np.int64) @ counts).argmax(axis=1)[back.reshape(-1)])


def nearest(data: Dataset, *, part: str = "test", most: int = MOST, seed: int = 0) -> Ints:
    """The class of the nearest training event, pixel by pixel: how far memory alone goes.

    The distance is the mean over the elements of the views that both events have. Of more than `most` training events,
    so many are drawn by `seed`; a report should say so.
    """
    train, asked = data.subset("train"), data.subset(part)
    if len(train) > most:
        train = train.take(np.sort(np.random.default_rng(seed).permutation(len(train))[:most]))
    standard = Standard(train)
    metric = "euclidean" if train.present.all() and asked.present.all() else "nan_euclidean"
    model = KNeighborsClassifier(n_neighbors=1, algorithm="brute", metric=metric)
    return np.asarray(model.fit(_pixels(standard, train), train.y).predict(_pixels(standard, asked)))


def _pixels(standard: Standard, data: Dataset) -> Floats:
    """(N, F), not a number where the view is absent."""
    rows = standard(data)
    return np.where(np.repeat(rows.seen, rows.sizes.astype(int), axis=1) > 0, rows.values, np.float32(np.nan))


def linear(data: Dataset, *, part: str = "test", strengths: Sequence[float] = STRENGTHS) -> Ints:
    """Ridge regression of one-hot classes on all views, zero where absent, and on which of them are there.

    The penalty is the one of `strengths` that is right most often on validation, the weakest of equals. A series has
    its magnitude spectrum beside it: what moves has no fixed phase, and its samples alone would be a baseline of straw.
    """
    train, validation, asked = (_with_spectra(data.subset(name)) for name in ("train", "validation", part))
    standard = Standard(train, elements=ELEMENTS if len(train) > ELEMENTS else None)
    x, known = _features(standard, train), _features(standard, validation)
    unit = len(x) * float(x.var(axis=0).mean())
    models = [RidgeClassifier(max(strength * unit, 1e-6)).fit(x, train.y) for strength in strengths]
    best = int(np.argmax([model.score(known, validation.y) for model in models]))
    return np.asarray(models[best].predict(_features(standard, asked)))


def linear_alone(data: Dataset, *, part: str = "test") -> Ints:
    """(N, D) labels, column i by a linear classifier of device i's view alone.

    What the device does not see it answers as the training events that it does not see are best answered.
    """
    return np.stack([linear(data.of_devices([device]), part=part) for device in range(data.devices)], axis=1)


def _features(standard: Standard, data: Dataset) -> npt.NDArray[np.float64]:
    """(N, F + D): all views side by side, then the presence flags."""
    rows = standard(data)
    return np.concatenate([rows.values, rows.seen], axis=1, dtype=np.float64)


def _with_spectra(data: Dataset) -> Dataset:
    """Each series (N, C, L) as a vector (N, C·L + C·(L div 2 + 1)): its samples, then their magnitude spectrum."""
    return replace(data, views=tuple(_with_spectrum(view) if view.ndim == 3 else view for view in data.views))


def _with_spectrum(view: Array) -> Floats:
    both = np.concatenate([view, np.abs(np.fft.rfft(view, axis=2))], axis=2, dtype=np.float32)
    return both.reshape(len(view), -1)
