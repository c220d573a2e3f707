"""Two thresholds, exactly: the fewest events to the cloud that keep the accuracy.

Legend: N events; `first` and `second` are the exits below the cloud, in the order they are asked.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ddnn.types import Array, Bools, Floats, Ints

__all__ = ["Choice", "best_pair", "candidates", "split_between"]


@dataclass(frozen=True, slots=True, order=True)
class Choice:
    """An operating point; the smallest is the best."""

    to_cloud: int
    """Events that the cloud answers."""
    past_first: int
    """Events that leave the first exit."""
    wrong: int
    """Events answered wrongly."""
    first: float
    """Threshold of the first exit."""
    second: float
    """Threshold of the second exit."""


def best_pair(first: Floats, second: Floats, right: tuple[Bools, Bools, Bools], most_wrong: int) -> Choice | None:
    """The best pair of thresholds with at most `most_wrong` wrong answers, or none.

    `first` and `second` (N,) are the criteria of the two exits, `right` whether each exit and the cloud are right.
    Every pair that divides the events differently is looked at: O(N) for each value of the first threshold.
    """
    order = np.argsort(second, kind="stable")
    first, second = first[order], second[order]
    wrong_first, wrong_second, wrong_cloud = (~values[order] for values in right)
    options = candidates(second)
    ends = np.searchsorted(second, options, side="left")  # the second exit takes rows below `end`, if they get there
    best: Choice | None = None
    for threshold in candidates(first):
        go_on = first >= threshold
        past = int(go_on.sum())
        up, at_second = _running(wrong_cloud & go_on), _running(wrong_second & go_on)[ends]
        wrong = (wrong_first & ~go_on).sum() + at_second + up[-1] - up[ends]
        to_cloud = past - _running(go_on)[ends]
        allowed = np.flatnonzero(wrong <= most_wrong)
        if len(allowed):
            pick = allowed[np.lexsort((options[allowed], wrong[allowed], to_cloud[allowed]))[0]]
            choice = Choice(int(to_cloud[pick]), past, int(wrong[pick]), float(threshold), float(options[pick]))
            best = choice if best is None else min(best, choice)
    return best


def candidates(values: Floats) -> Array:
    """One threshold for every way to divide `values`, ascending: 0, then one between each two neighbours, then the top.

    Between neighbours lies more room for events not seen yet than at either of them.
    """
    distinct = np.unique(values[np.isfinite(values)]).astype(np.float64)
    edges = [*distinct, 1.0] if len(distinct) else []
    return np.array([0.0, *(split_between(low, high) for low, high in pairwise(edges) if low < high)])


def split_between(low: float, high: float) -> float:
    """A short number in (low, high], near the middle: `low` is below it and `high` is not."""
    middle, slack = (low + high) / 2, (high - low) / 4
    for digits in range(2, 9):
        if abs((short := round(middle, digits)) - middle) <= slack and np.float32(short) > low:
            return short
    return high


def _running(mask: Bools) -> Ints:
    """How many of the first n are set, for n = 0 … N: (N + 1,)."""
    return np.concatenate([[0], np.cumsum(mask)])
