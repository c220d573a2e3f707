"""Choosing the temperatures and thresholds of a policy on the validation split."""

import math
from typing import Any, Final

import numpy as np

from ddnn.errors import BadData, BadInput, Infeasible
from ddnn.evaluation import Scores, decide, judge
from ddnn.exits import CRITERIA
from ddnn.policy import Policy, Thresholds
from ddnn.tier import Exit
from ddnn.tuning.pairs import Choice, best_pair, candidates
from ddnn.tuning.temperature import fit_temperatures
from ddnn.types import Array, Floats

__all__ = ["FEWEST_EVENTS", "figures", "tune"]

FEWEST_EVENTS: Final = 50
"""Below this many events a threshold is luck."""
_GRID: Final = 24
"""Thresholds tried an exit when several edges make an event's answer depend on all of them."""


def tune(scores: Scores, policy: Policy, *, max_accuracy_drop: float = 0.005, criterion: str | None = None) -> Policy:
    """Return `policy`, one version on, with temperatures and thresholds fitted on `scores`.

    The overall accuracy stays at or above the cloud exit's minus `max_accuracy_drop`; among what allows that, the
    fewest events go to the cloud, then the fewest leave the local exit. The device exit stays off in a group; with one
    device it takes the local exit's place, whose answer would repeat it. Thresholds lie between neighbouring values.
    Raises `BadData` for too few events or one class, `Infeasible` when no thresholds reach the accuracy.
    """
    if not math.isfinite(max_accuracy_drop) or not -1 <= max_accuracy_drop <= 1:
        raise BadInput(f"max_accuracy_drop is {max_accuracy_drop}; expected a number from -1 to 1")
    if len(scores.topology.exits) == 1:
        raise BadInput("this network has no exit below the cloud; there is no threshold to tune")
    if len(scores) < FEWEST_EVENTS:
        raise BadData(f"there are {len(scores)} events to tune on; expected at least {FEWEST_EVENTS}")
    if len(np.unique(scores.y)) < 2:
        raise BadData(f"all {len(scores)} events to tune on are of class {scores.y[0]}; expected at least two classes")
    fitted = policy.model_copy(
        update={
            "version": policy.version + 1,
            "criterion": _known(criterion or policy.criterion),
            "temperatures": fit_temperatures(scores),
            "tuned": None,
        }
    )
    cloud = decide(scores, _with(fitted, scores, 0.0, 0.0)).accuracy(scores.y)
    most_wrong = _most_wrong(len(scores), cloud - max_accuracy_drop)
    search = _search_exactly if len(scores.topology.edges) == 1 else _search_grid
    choice = search(scores, fitted, most_wrong)
    if choice is None:
        raise Infeasible(
            f"no thresholds reach an accuracy of {cloud - max_accuracy_drop:.4f} on {len(scores)} events:"
            f" the cloud exit alone has {cloud:.4f}; allow a larger max_accuracy_drop than {max_accuracy_drop}"
        )
    chosen = _with(fitted, scores, choice.first, choice.second)
    tuned = {
        **scores.source,
        "events": len(scores),
        "objective": {"minimise": "events to the cloud", "max_accuracy_drop": max_accuracy_drop},
        "validation": figures(scores, chosen),
    }
    return chosen.model_copy(update={"tuned": tuned})


def figures(scores: Scores, policy: Policy) -> dict[str, Any]:
    """What `policy` does on `scores`: events, overall and cloud accuracy, share of events per exit."""
    decisions = decide(scores, policy)
    return {
        "events": len(scores),
        "accuracy": decisions.accuracy(scores.y),
        "cloud_accuracy": float((scores.cloud.argmax(axis=1) == scores.y).mean()),
        "exit_share": {exit.value: decisions.share(exit) if exit in scores.topology.exits else None for exit in Exit},
    }


def _known(criterion: str) -> str:
    if criterion not in CRITERIA:
        raise BadInput(f"criterion is {criterion!r}; expected one of {', '.join(CRITERIA)}")
    return criterion


def _with(policy: Policy, scores: Scores, first: float, second: float) -> Policy:
    """`policy` with the thresholds of the first exit that is on, and of the edge exit."""
    alone = scores.present.shape[1] == 1
    thresholds = Thresholds(device=first if alone else 0.0, local=0.0 if alone else first, edge=second)
    return policy.model_copy(update={"thresholds": thresholds})


def _first_exit(scores: Scores) -> Exit:
    return Exit.DEVICE if scores.present.shape[1] == 1 else Exit.LOCAL


def _search_exactly(scores: Scores, policy: Policy, most_wrong: int) -> Choice | None:
    """One edge: an event's way depends on its own two criteria alone."""
    p_first, u_first = judge(scores, policy, _first_exit(scores))
    right_cloud = judge(scores, policy, Exit.CLOUD)[0].argmax(axis=1) == scores.y
    right_first = p_first[:, 0].argmax(axis=1) == scores.y
    if scores.edge is None:
        none = np.full(len(scores), np.inf, np.float32)
        return best_pair(u_first[:, 0], none, (right_first, right_cloud, right_cloud), most_wrong)
    p_edge, u_edge = judge(scores, policy, Exit.EDGE)
    right_edge = p_edge[:, 0].argmax(axis=1) == scores.y
    return best_pair(u_first[:, 0], u_edge[:, 0], (right_first, right_edge, right_cloud), most_wrong)


def _search_grid(scores: Scores, policy: Policy, most_wrong: int) -> Choice | None:
    """Several edges: the surest of them answers, so that each pair of thresholds has to be played through."""
    seconds = np.zeros(1) if scores.edge is None else _thinned(judge(scores, policy, Exit.EDGE)[1])
    choices = []
    for first in _thinned(judge(scores, policy, Exit.LOCAL)[1]):
        for second in seconds:
            decisions = decide(scores, _with(policy, scores, first, second))
            wrong = int((decisions.label != scores.y).sum())
            if wrong <= most_wrong:
                to_cloud, past = (int((decisions.exit >= exit.rank).sum()) for exit in (Exit.CLOUD, Exit.EDGE))
                choices.append(Choice(to_cloud, past, wrong, float(first), float(second)))
    return min(choices, default=None)


def _thinned(values: Floats) -> Array:
    """At most `_GRID` of the candidate thresholds, evenly by rank."""
    every = candidates(values)
    return np.unique(every[np.linspace(0, len(every) - 1, _GRID).round().astype(np.int64)])


def _most_wrong(events: int, accuracy: float) -> int:
    """How many of `events` may be wrong at `accuracy`; a hair of slack keeps 0.97 × 100 at 97."""
    return events - math.ceil(accuracy * events - 1e-9)
