"""What a round of learning gained: the bundle that it began with and the one it made, on events that neither learnt."""

from typing import Any

import numpy as np

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.evaluation.decide import decide
from ddnn.evaluation.scores import record
from ddnn.formatting import count, percent
from ddnn.types import Bools

__all__ = ["gained", "gained_lines"]


def gained(before: Bundle, after: Bundle, test: Dataset) -> list[dict[str, Any]]:
    """For each data set that `test` is made of: how many are right under each bundle's policy, and which changed."""
    right = {name: _right(bundle, test) for name, bundle in (("before", before), ("after", after))}
    names = test.parts or (test.name,)
    part = np.zeros(len(test), np.int64) if test.part is None else test.part
    found = []
    for number, name in enumerate(names):
        was, now = (right[when][part == number] for when in ("before", "after"))
        if len(was):
            shares = {"before": float(was.mean()), "after": float(now.mean())}
            changed = {"set_right": int((now & ~was).sum()), "set_wrong": int((was & ~now).sum())}
            found.append({"data": name, "events": len(was), **shares, **changed})
    return found


def gained_lines(found: list[dict[str, Any]]) -> list[str]:
    """A sentence for each data set."""
    return [
        f"{row['data']}: {percent(row['before'])} of {count(row['events'], 'test event')} right before,"
        f" {percent(row['after'])} now ({row['set_right']} set right, {row['set_wrong']} set wrong)"
        for row in found
    ]


def _right(bundle: Bundle, test: Dataset) -> Bools:
    scores = record(bundle, test)
    right: Bools = decide(scores, bundle.policy).label == scores.y
    return right
