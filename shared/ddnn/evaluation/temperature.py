"""The temperature at which probabilities mean what they say (Guo et al. 2017)."""

import math
from typing import Final

import numpy as np

from ddnn.types import Floats, Ints

__all__ = ["BOUNDS", "fit_temperature"]

BOUNDS: Final = (1 / 16, 16.0)  #: where a temperature is sought; scores that are never wrong would drive it to 0
_GOLDEN: Final = (math.sqrt(5) - 1) / 2


def fit_temperature(scores: Floats, y: Ints) -> float:
    """The T in `BOUNDS` that minimises the mean negative log-likelihood of softmax(scores / T); (n, K), (n,).

    The loss is convex in 1 / T, so it has one valley in log T, and golden-section search finds it.
    """
    if not len(y):
        return 1.0
    exact = scores.astype(np.float64)
    low, high = math.log(BOUNDS[0]), math.log(BOUNDS[1])
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = _loss(exact, y, left), _loss(exact, y, right)
    while high - low > 1e-4:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = _loss(exact, y, left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = _loss(exact, y, right)
    return round(math.exp((low + high) / 2), 4)


def _loss(scores: np.ndarray[tuple[int, ...], np.dtype[np.float64]], y: Ints, log_temperature: float) -> float:
    scaled = scores / math.exp(log_temperature)
    scaled -= scaled.max(axis=1, keepdims=True)
    return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(y)), y]).mean())
