"""Several data sets as one, to learn from together: each keeps its own split."""

import hashlib
from dataclasses import replace

import numpy as np

from ddnn.data.dataset import Dataset
from ddnn.data.split import SPLIT_NAMES
from ddnn.errors import BadData
from ddnn.types import Array

__all__ = ["mixed"]


def mixed(first: Dataset, *others: Dataset) -> Dataset:
    """The events of all, in memory, with `part` that says whose each is; raise `BadData` where views or classes differ.

    What is recorded of its source is that of `first`, and whose events are `also` there.
    """
    for other in others:
        _refuse_unlike(first, other)
    if not others:
        return first
    every = (first, *others)
    views = tuple(np.concatenate([np.asarray(data.views[device]) for data in every]) for device in range(first.devices))
    text = " and ".join(data.fingerprint for data in every)
    also = [{"name": str(data.source.get("name", data.name)), "fingerprint": data.fingerprint} for data in others]
    division = {**first.division, "events": {}}
    split = np.concatenate([data.split for data in every])
    division["events"] = {part: int((split == part).sum()) for part in SPLIT_NAMES}
    return replace(
        first,
        name=" and ".join(data.name for data in every),
        views=views,
        y=_joined(every, "y"),
        y_dev=_joined(every, "y_dev"),
        present=_joined(every, "present"),
        split=split,
        index=_joined(every, "index"),
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        source={**first.source, "also": also},
        division=division,
        groups=None,
        names=None,
        odd=tuple(file for data in every for file in data.odd),
        unlabelled=sum(data.unlabelled for data in every),
        part=np.repeat(np.arange(len(every)), [len(data) for data in every]),
        parts=tuple(data.name for data in every),
    )


def _joined(every: tuple[Dataset, ...], name: str) -> Array:
    return np.concatenate([getattr(data, name) for data in every])


def _refuse_unlike(first: Dataset, other: Dataset) -> None:
    if other.classes != first.classes:
        found = f"{other.name} has the classes {', '.join(other.classes[:6])}"
        raise BadData(f"{found}; expected those of {first.name}: {', '.join(first.classes[:6])}")
    mine, theirs = ([(view.dtype, view.shape[1:]) for view in data.views] for data in (first, other))
    if mine != theirs:
        kinds = [" and ".join(dict.fromkeys(f"{dtype} {shape}" for dtype, shape in each)) for each in (theirs, mine)]
        raise BadData(
            f"{other.name} has {other.devices} devices with views {kinds[0]};"
            f" expected {first.devices} with {kinds[1]}, as {first.name}"
        )
