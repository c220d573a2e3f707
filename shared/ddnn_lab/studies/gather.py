"""Runs of one variant → means and intervals.

A place is a run's (seed, fold). Over several seeds an interval is taken over each seed's mean over its folds; with one
seed, over the folds.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, TypeVar

from ddnn_lab.studies.archive import Record
from ddnn_lab.studies.spread import fold, spread

__all__ = ["Place", "gathered", "paired", "sampled", "values"]

Place = tuple[int, int]
T = TypeVar("T")


def gathered(records: Sequence[Record]) -> dict[str, Any] | None:
    """All measures with a mean and an interval for every number, and how many runs there are; None without runs."""
    if not records:
        return None
    first = next(iter(records[0].measures.values()))
    groups = _groups({record.job.place: dict(record.measures) for record in records})
    folded = fold([_mean(group) for group in groups], events=int(first["events"]))
    return {"runs": len(records), "seeds": sorted({record.job.seed for record in records}), **folded}


def values(records: Sequence[Record], of: Callable[[Mapping[str, Any]], float | None]) -> dict[Place, float]:
    """One number of each run's measures, by place; runs without it are left out."""
    found = {record.job.place: of(record.measures) for record in records}
    return {place: value for place, value in found.items() if value is not None}


def sampled(found: Mapping[Place, float], *, events: int | None = None) -> dict[str, Any] | None:
    """Mean and interval of numbers by place, shares of `events` if that is given; None without any."""
    return spread([fmean(group) for group in _groups(found)], events=events) if found else None


def paired(first: Mapping[Place, float], second: Mapping[Place, float]) -> dict[str, Any] | None:
    """Mean and interval of first − second where there are both."""
    return sampled({place: value - second[place] for place, value in first.items() if place in second})


def _groups(found: Mapping[Place, T]) -> list[list[T]]:
    seeds = sorted({seed for seed, _ in found})
    if len(seeds) == 1:
        return [[value] for value in found.values()]
    return [[value for (seed, _), value in found.items() if seed == own] for own in seeds]


def _mean(documents: Sequence[dict[str, Any]]) -> Any:
    """Documents of one shape → one with the mean of every number."""
    return documents[0] if len(documents) == 1 else _plain(fold(documents, events=0))


def _plain(document: Any) -> Any:
    if isinstance(document, dict):
        if document.keys() == {"mean", "low", "high", "values"}:
            return document["mean"]
        return {key: _plain(value) for key, value in document.items()}
    return [_plain(value) for value in document] if isinstance(document, list) else document
