"""A linear classifier in closed form: ridge regression of one-hot classes on all that is seen.

A series is given with its magnitude spectrum beside it: what moves has no fixed phase, and a linear classifier of the
samples alone would be a baseline of straw.

Legend: N training events, F elements and presence flags, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from ddnn.data import Dataset
from ddnn.data.standard import CHUNK, Standard
from ddnn.types import Array, Floats, Ints

__all__ = ["STRENGTHS", "linear", "linear_alone"]

STRENGTHS: Final = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Ridge penalties tried on validation, as shares of the mean variance of an element."""
ELEMENTS: Final = 4096
"""Kept of an event's elements, evenly spaced, when there are more and more training events than these too."""

Doubles = npt.NDArray[np.float64]


def linear(data: Dataset, *, part: str = "test", strengths: Sequence[float] = STRENGTHS) -> Ints:
    """(N,) labels of the events of `part`, from all views standardised, zero where absent, and who is present.

    The penalty is the one of `strengths` that is right most often on validation, the weakest of equals.
    """
    train, validation, asked = (_with_spectra(data.subset(name)) for name in ("train", "validation", part))
    fits = _fit(train, strengths)
    right = [(fit.labels(validation) == validation.y).mean() for fit in fits]
    return fits[int(np.argmax(right))].labels(asked)


def linear_alone(data: Dataset, *, part: str = "test") -> Ints:
    """(N, D) labels of the events of `part`, column i by a classifier on device i's view alone.

    What the device does not see it answers as the training events that it does not see are best answered.
    """
    return np.stack([linear(data.of_devices([device]), part=part) for device in range(data.devices)], axis=1)


def _with_spectra(data: Dataset) -> Dataset:
    """Each series (N, C, L) as a vector (N, C·L + C·(L div 2 + 1)): its samples, then their magnitude spectrum."""
    return replace(data, views=tuple(_spectrum(view) if view.ndim == 3 else view for view in data.views))


def _spectrum(view: Array) -> Floats:
    both = np.concatenate([view, np.abs(np.fft.rfft(view, axis=2))], axis=2, dtype=np.float32)
    return both.reshape(len(view), -1)


@dataclass(frozen=True)
class _Linear:
    """scores = features · weights + bias."""

    standard: Standard
    weights: Floats
    """(F, K)."""
    bias: Floats
    """(K,)."""

    def labels(self, data: Dataset) -> Ints:
        """(N,)."""
        chunks = [slice(start, start + CHUNK) for start in range(0, len(data), CHUNK)]
        scores = [_features(self.standard, data, chunk) @ self.weights + self.bias for chunk in chunks]
        return np.asarray(np.concatenate(scores).argmax(axis=1))


def _features(standard: Standard, data: Dataset, rows: slice) -> Floats:
    """(N, F): all views side by side, then the presence flags."""
    made = standard(data, rows)
    return np.concatenate([made.values, made.seen], axis=1)


def _fit(train: Dataset, strengths: Sequence[float]) -> list[_Linear]:
    """One classifier a strength: W = (XᵀX + λI)⁻¹ XᵀY, or Xᵀ(XXᵀ + λI)⁻¹ Y where events are fewer than elements."""
    count = len(train)
    standard = Standard(train, elements=ELEMENTS if count > ELEMENTS else None)
    targets = np.eye(len(train.classes))[train.y]
    middle_y = targets.mean(axis=0)
    targets -= middle_y
    middle_x, gram, moments, whole = _sums(standard, train, targets)
    lambdas = [strength * float(np.trace(gram)) / len(middle_x) for strength in strengths]
    if whole is None:
        solved = [_solve(gram, moments, penalty) for penalty in lambdas]
    else:
        solved = [whole.T @ _solve(gram, targets, penalty) for penalty in lambdas]
    return [
        _Linear(standard, weights.astype(np.float32), (middle_y - middle_x @ weights).astype(np.float32))
        for weights in solved
    ]


def _sums(standard: Standard, train: Dataset, targets: Doubles) -> tuple[Doubles, Doubles, Doubles, Doubles | None]:
    """Mean features (F,), the Gram matrix of the centred ones, XᵀY, and X itself where the Gram matrix is (N, N)."""
    chunks = [slice(start, start + CHUNK) for start in range(0, len(train), CHUNK)]
    width = int(standard.sizes.sum()) + train.devices
    if len(train) < width:
        whole = np.concatenate([_features(standard, train, chunk) for chunk in chunks]).astype(np.float64)
        middle = whole.mean(axis=0)
        whole -= middle
        return middle, whole @ whole.T, np.empty((0, 0)), whole
    total, gram, moments = np.zeros(width), np.zeros((width, width)), np.zeros((width, targets.shape[1]))
    for chunk in chunks:  # products in single precision are twice as fast, their sum in double loses nothing more
        features = _features(standard, train, chunk)
        total += features.sum(axis=0, dtype=np.float64)
        gram += features.T @ features
        moments += features.T @ targets[chunk].astype(np.float32)
    middle = total / len(train)
    return middle, gram - len(train) * np.outer(middle, middle), moments, None


def _solve(gram: Doubles, right: Doubles, penalty: float) -> Doubles:
    return np.asarray(np.linalg.solve(gram + max(penalty, 1e-6) * np.eye(len(gram)), right))
