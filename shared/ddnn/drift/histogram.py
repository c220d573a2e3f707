"""How far two histograms of confidence are apart."""

from collections.abc import Sequence
from typing import Final

__all__ = ["BINS", "distance"]

BINS: Final = 10
"""Of a histogram of confidence over [0, 1], all as wide."""


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Total variation distance of two histograms: 0 alike, 1 apart."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 2
