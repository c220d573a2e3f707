"""Means and 95 % intervals, of single numbers and of whole documents.

A number becomes {"mean", "low", "high", "values"}. With several values the interval is Student's t over them; a single
share of right answers gets Wilson's interval over the test events; any other single number has none.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, Final

from scipy.special import stdtrit

from ddnn.drift import wilson

__all__ = ["fold", "spread"]

CERTAINTY: Final = 0.95
ACCURACY: Final = "accuracy"
"""The key under which a share of right answers stands."""


def spread(values: Sequence[float], *, events: int | None = None) -> dict[str, Any]:
    """Mean and interval of one number over runs; `events` is given where it is a share of so many."""
    mean = fmean(values)
    low: float | None = None
    high: float | None = None
    if len(values) > 1:
        half = float(stdtrit(len(values) - 1, (1 + CERTAINTY) / 2)) * stdev(values) / math.sqrt(len(values))
        low, high = mean - half, mean + half
    elif events:
        low, high = wilson(mean, events)
    return {"mean": mean, "low": low, "high": high, "values": list(values)}


def fold(documents: Sequence[Any], *, events: int, key: str = "") -> Any:
    """Documents of one shape → one document with every number replaced by its spread; other things as in the first.

    Where some document has no number, so has the result.
    """
    first = documents[0]
    if any(document is None for document in documents):
        return None
    if isinstance(first, Mapping):
        return {name: fold([document.get(name) for document in documents], events=events, key=name) for name in first}
    if isinstance(first, list):
        if any(len(document) != len(first) for document in documents):
            return None
        return [fold(parts, events=events, key=key) for parts in zip(*documents, strict=True)]
    if isinstance(first, bool) or not isinstance(first, int | float):
        return first
    return spread([float(document) for document in documents], events=events if key == ACCURACY else None)
