"""Mean and deviation of the numbers that are there."""

import numpy as np

from ddnn.types import Array

__all__ = ["finite_moments"]


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
