"""Mean and deviation of the numbers that are there, and whether a few far out make them what they are."""

from statistics import NormalDist
from typing import Final

import numpy as np

from ddnn.types import Array, Bools

__all__ = ["SIDES", "TINY", "finite_moments", "finite_quantiles", "heavy_tails", "middle_deviation"]

HEAVY: Final = 3.0
"""Deviation over that of the middle 95 % from which tails are heavy: 1 if normal, at most 1.6 in clean data seen."""
SIDES: Final = (0.025, 0.975)
MIDDLE: Final = 2 * NormalDist().inv_cdf(SIDES[1])  #: width of the middle 95 % of a normal distribution, in deviations
TINY: Final = 1e-30  #: a deviation up to this is none


def finite_moments(values: Array, axes: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """How many `values` along `axes` are finite, their mean and their deviation, in float64; 0 where there are none."""
    values, finite = values.astype(np.float64), np.isfinite(values)
    count = finite.sum(axis=axes)
    if finite.all():
        return count, values.mean(axis=axes), values.std(axis=axes)
    some = np.maximum(count, 1)
    mean = np.where(finite, values, 0).sum(axis=axes) / some
    around = np.where(finite, values - np.expand_dims(mean, axes), 0)
    return count, mean, np.sqrt((around**2).sum(axis=axes) / some)


def finite_quantiles(values: Array, levels: tuple[float, ...]) -> Array:
    """(Q, C) quantiles of the finite ones of values (n, C); 0 where there are none."""
    values = values.astype(np.float64)
    values[~np.isfinite(values)] = np.nan
    values[:, np.isnan(values).all(axis=0)] = 0.0
    return np.asarray((np.nanquantile if np.isnan(values).any() else np.quantile)(values, levels, axis=0))


def middle_deviation(low: Array, high: Array) -> Array:
    """Deviation of a normal distribution with these quantiles at `SIDES`."""
    return np.asarray((high - low) / MIDDLE)


def heavy_tails(deviation: Array, middle: Array) -> Bools:
    """Whether the deviation is far from that of the middle; not where the middle is a single value."""
    return np.asarray((middle > TINY) & (deviation > HEAVY * middle))
