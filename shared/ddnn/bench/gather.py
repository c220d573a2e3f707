"""Runs of one variant → one document: a mean and an interval for every number."""

from collections.abc import Callable, Sequence
from typing import Any

from ddnn.bench.archive import Record
from ddnn.bench.spread import difference, fold

__all__ = ["gathered", "paired", "samples"]


def gathered(records: Sequence[Record]) -> dict[str, Any] | None:
    """All measures folded, with how many runs there are; None without runs.

    Over several seeds a seed's value is its mean over folds; with one seed the values are the folds'.
    """
    if not records:
        return None
    events = int(records[0].measures["exits"]["events"]) if "exits" in records[0].measures else 1
    folded = fold([_mean(group) for group in samples(records)], events=events)
    return {"runs": len(records), "seeds": sorted({record.job.seed for record in records}), **folded}


def samples(records: Sequence[Record]) -> list[list[dict[str, Any]]]:
    """What an interval is taken over, the measures of one seed's folds each; or of one fold each."""
    seeds = sorted({record.job.seed for record in records})
    if len(seeds) == 1:
        return [[dict(record.measures)] for record in records]
    return [[dict(record.measures) for record in records if record.job.seed == seed] for seed in seeds]


def paired(
    first: Sequence[Record], second: Sequence[Record], value: Callable[[Record], float | None]
) -> dict[str, Any] | None:
    """The difference first − second of a value over runs of the same seed and fold; None without such runs."""
    others = {(record.job.seed, record.job.fold): value(record) for record in second}
    pairs = [(value(record), others.get((record.job.seed, record.job.fold)), record.job.seed) for record in first]
    known = [(a, b, seed) for a, b, seed in pairs if a is not None and b is not None]
    if not known:
        return None
    seeds = sorted({seed for _, _, seed in known})
    if len(seeds) > 1:  # as in `gathered`: folds of one seed are one sample
        by_seed = [[(a, b) for a, b, own in known if own == seed] for seed in seeds]
        means = [(sum(a for a, _ in group) / len(group), sum(b for _, b in group) / len(group)) for group in by_seed]
    else:
        means = [(a, b) for a, b, _ in known]
    return difference([a for a, _ in means], [b for _, b in means])


def _mean(documents: Sequence[dict[str, Any]]) -> Any:
    """Documents of one shape → one with the mean of every number."""
    if len(documents) == 1:
        return documents[0]
    return _plain(fold(documents, events=0))


def _plain(document: Any) -> Any:
    if isinstance(document, dict):
        if document.keys() == {"mean", "low", "high", "values"}:
            return document["mean"]
        return {key: _plain(value) for key, value in document.items()}
    return [_plain(value) for value in document] if isinstance(document, list) else document
