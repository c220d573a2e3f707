"""Runs of one variant → means and 95 % intervals, of single numbers and of whole documents.

A number becomes {"mean", "low", "high", "values"}. With several values the interval is Student's t over them; a single
share of right answers gets Wilson's interval over the test events; any other single number has none. Over several seeds
a value is a seed's mean over its folds; with one seed the values are those of the folds.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, Final, TypeVar

from scipy.special import stdtrit

from ddnn.drift import wilson
from ddnn_lab.studies.job import Record, Replicate

__all__ = ["fold", "gathered", "paired", "sampled", "spread", "values"]

CERTAINTY: Final = 0.95
ACCURACY: Final = "accuracy"  #: the key under which a share of right answers stands

T = TypeVar("T")


def spread(values: Sequence[float], *, events: int | None = None) -> dict[str, Any]:
    """Mean and interval of one number over runs; `events` is given where it is a share of so many."""
    mean = fmean(values)
    low, high = wilson(mean, events) if events else (None, None)
    if len(values) > 1:
        half = float(stdtrit(len(values) - 1, (1 + CERTAINTY) / 2)) * stdev(values) / math.sqrt(len(values))
        low, high = mean - half, mean + half
    return {"mean": mean, "low": low, "high": high, "values": list(values)}


def fold(documents: Sequence[Any], *, events: int) -> Any:
    """Documents of one shape → one document with every number replaced by its spread; other things as in the first.

    Where some document has no number, so has the result.
    """
    return _leaves(documents, lambda values, key: spread(values, events=events if key == ACCURACY else None))


def _leaves(documents: Sequence[Any], leaf: Callable[[list[float], str], Any], key: str = "") -> Any:
    """The first document with each of its numbers replaced by `leaf` of all documents' numbers there, and their key."""
    first = documents[0]
    if any(document is None for document in documents):
        return None
    if isinstance(first, Mapping):
        return {name: _leaves([document.get(name) for document in documents], leaf, name) for name in first}
    if isinstance(first, list):
        if any(len(document) != len(first) for document in documents):
            return None
        return [_leaves(parts, leaf, key) for parts in zip(*documents, strict=True)]
    if isinstance(first, bool) or not isinstance(first, int | float):
        return first
    return leaf([float(document) for document in documents], key)


def gathered(records: Sequence[Record]) -> dict[str, Any] | None:
    """All measures with a mean and an interval for every number, and how many runs there are; None without runs."""
    if not records:
        return None
    events = int(next(iter(records[0].measures.values()))["events"])
    groups = _by_seed({record.job.replicate: dict(record.measures) for record in records})
    means = [_leaves(group, lambda values, _: fmean(values)) if group[1:] else group[0] for group in groups]
    seeds = sorted({record.job.seed for record in records})
    return {"runs": len(records), "seeds": seeds, **fold(means, events=events)}


def values(records: Sequence[Record], of: Callable[[Mapping[str, Any]], float | None]) -> dict[Replicate, float]:
    """One number of each run's measures; runs without it are left out."""
    numbers = {record.job.replicate: of(record.measures) for record in records}
    return {replicate: value for replicate, value in numbers.items() if value is not None}


def sampled(numbers: Mapping[Replicate, float], *, events: int | None = None) -> dict[str, Any] | None:
    """Mean and interval of one number of each run, a share of `events` if that is given; None without any."""
    return spread([fmean(group) for group in _by_seed(numbers)], events=events) if numbers else None


def paired(first: Mapping[Replicate, float], second: Mapping[Replicate, float]) -> dict[str, Any] | None:
    """Mean and interval of first − second where there are both."""
    return sampled({replicate: value - second[replicate] for replicate, value in first.items() if replicate in second})


def _by_seed(values: Mapping[Replicate, T]) -> list[list[T]]:
    seeds = sorted({seed for seed, _ in values})
    if len(seeds) == 1:
        return [[value] for value in values.values()]
    return [[value for (seed, _), value in values.items() if seed == own] for own in seeds]
