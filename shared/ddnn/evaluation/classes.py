"""What answers do to each class, which an accuracy over all events hides.

Legend: N events, K classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ddnn.evaluation.decide import Decisions
from ddnn.evaluation.scores import Scores
from ddnn.types import Bools, Exit, Ints

__all__ = ["Recall", "balanced", "by_class", "figures", "worst"]

Recall = Sequence[float | None]
"""(K,) share of each class's events whose answer is right; None where there is no event of the class."""


def by_class(scores: Scores, decisions: Decisions, names: Sequence[str]) -> dict[str, Any]:
    """Names and events of the classes, `figures` of the answers, and the recall of each exit if it answered all.

    Device exits are left out: each of them is judged on labels of its own.
    """
    exits: dict[str, Any] = {}
    for exit in (Exit.LOCAL, Exit.EDGE, Exit.CLOUD):
        exits[exit.value] = None
        if exit in scores.topology.exits:
            there = scores.there(exit)
            y = np.broadcast_to(scores.y.reshape(-1, *[1] * (there.ndim - 1)), there.shape)[there]
            exits[exit.value] = _recall(scores.labels(exit)[there] == y, y, scores.classes)
    count = np.bincount(scores.y, minlength=scores.classes)
    told = figures(decisions.label, scores.y, scores.classes)
    return {"names": list(names), "events": count.tolist(), **told, "exits": exits}


def figures(labels: Ints, y: Ints, classes: int) -> dict[str, Any]:
    """Balanced accuracy, recall and precision by class, and the confusion table (true class by row) of labels (N,).

    An event without an answer is in no cell of the table, and not right.
    """
    answered = labels >= 0
    table = np.bincount(y[answered] * classes + labels[answered], minlength=classes**2).reshape(classes, classes)
    recall = _recall(labels == y, y, classes)
    hits, answers = table.diagonal().tolist(), table.sum(axis=0).tolist()
    return {
        "balanced_accuracy": balanced(recall),
        "recall": recall,
        "precision": [hit / count if count else None for hit, count in zip(hits, answers, strict=True)],
        "confusion": table.tolist(),
    }


def balanced(recall: Recall) -> float:
    """Balanced accuracy: the mean recall of the classes that there are."""
    return float(np.mean([share for share in recall if share is not None]))


def worst(recall: Recall) -> int:
    """The class with the lowest recall, the first of equals."""
    return min((share, index) for index, share in enumerate(recall) if share is not None)[1]


def _recall(right: Bools, y: Ints, classes: int) -> list[float | None]:
    hits, count = np.bincount(y[right], minlength=classes), np.bincount(y, minlength=classes)
    return [hit / of if of else None for hit, of in zip(hits.tolist(), count.tolist(), strict=True)]
