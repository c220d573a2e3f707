"""What an exit answers, and how sure it is, as a share and a histogram; and how far two histograms are apart."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from ddnn.policy import Usual
from ddnn.tier import Exit
from ddnn.types import Floats, Ints

__all__ = ["BINS", "distance", "histogram", "usual"]

BINS: Final = 10
"""Of a histogram of confidence over [0, 1], all as wide."""


def histogram(confidence: Floats) -> tuple[float, ...]:
    """Share of the answers (N,) in each of the bins; all 0 when there are none."""
    counts = np.bincount(np.minimum((confidence * BINS).astype(np.int64), BINS - 1), minlength=BINS)
    return tuple((counts / max(len(confidence), 1)).tolist())


def usual(exit: Ints, confidence: Floats) -> dict[Exit, Usual]:
    """What a policy should have as usual, of N answers: rank of the exit and confidence of each (N,)."""
    answered = max(int((exit >= 0).sum()), 1)
    found = {}
    for each in Exit:
        rows = exit == each.rank
        if rows.any():
            found[each] = Usual(share=float(rows.sum()) / answered, confidence=histogram(confidence[rows]))
    return found


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Total variation distance of two histograms: 0 alike, 1 apart."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 2
