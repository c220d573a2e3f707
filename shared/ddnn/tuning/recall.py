"""The least recall of classes: how it is written, and what it means on events."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ddnn.errors import BadInput
from ddnn.types import Ints

__all__ = ["MinRecall", "check_recall", "misses", "parse_recalls", "recalls", "wanted"]

MinRecall = Mapping[int | None, float]
"""The least share of a class's events that are answered right; of None: of every class that has events."""


def check_recall(given: MinRecall) -> None:
    """Raise `BadInput` for what is no share."""
    for index, share in given.items():
        if not 0 <= share <= 1:  # false of what is not a number, too
            of = "" if index is None else f" of class {index}"
            raise BadInput(f"min_recall{of} is {share}; expected a share from 0 to 1")


def recalls(given: MinRecall, y: Ints, names: Sequence[str]) -> dict[int, float]:
    """The least recall by class on events with the labels `y` (N,); raise `BadInput` for a class without events."""
    events, every = np.bincount(y, minlength=len(names)), given.get(None)
    found = {} if every is None else dict.fromkeys(np.flatnonzero(events).tolist(), every)
    for index, share in given.items():
        if index is None:
            continue
        if not (0 <= index < len(events) and events[index]):
            name = names[index] if 0 <= index < len(events) else index
            raise BadInput(f"min_recall names class {name}; expected one that has events to tune on")
        found[index] = share
    return found


def misses(least: Mapping[int, float], events: Ints) -> dict[int, int]:
    """How many of a class's `events` (K,) may be answered wrong."""
    return {index: math.floor((1 - share) * events[index] + 1e-9) for index, share in least.items()}


def wanted(given: MinRecall, names: Sequence[str]) -> list[str]:
    """For people."""
    return [
        f"a recall of at least {100 * share:.4g} % of " + ("every class" if index is None else f"class {names[index]}")
        for index, share in given.items()
    ]


def parse_recalls(given: Sequence[str], names: Sequence[str]) -> dict[int | None, float]:
    """Recalls out of `0.95`, of every class, and `rare=0.95`, by a class's name or number; raise `BadInput`."""
    found: dict[int | None, float] = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        try:
            share = float(value)
        except ValueError as error:
            raise BadInput(f"min-recall is {text!r}; expected a share, or one of a class, like rare=0.95") from error
        index = _class_of(name.strip(), names) if equals else None
        if index in found:
            raise BadInput(f"min-recall is given twice: {text!r}; expected each class once")
        found[index] = share
    return found


def _class_of(name: str, names: Sequence[str]) -> int:
    if name in names:
        return list(names).index(name)
    if name.isdecimal() and int(name) < len(names):
        return int(name)
    some = ", ".join(names[:20]) + (" …" if len(names) > 20 else "")
    raise BadInput(f"min-recall names class {name!r}; the classes are {some}")
