"""What a tuned policy is beside what it might have been: the evidence that a report draws.

Legend: N events, m exits below the cloud that are asked, P rows of thresholds.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ddnn.evaluation import Decisions, Scores, decide
from ddnn.evaluation.decide import exit_alone
from ddnn.policy import Policy
from ddnn.tuning.asked import ask
from ddnn.tuning.calibration import answers, auroc, calibration
from ddnn.tuning.cost import Price, costs, spent
from ddnn.tuning.objective import Objective
from ddnn.tuning.objective_points import Points, operating_points
from ddnn.tuning.tune import figures, limits_of
from ddnn.types import Array, Exit

__all__ = ["DROPS", "study"]

DROPS: Final = (0.0, 0.0025, 0.005, 0.01, 0.02)
"""How far below the cloud the alternatives' accuracy may lie."""
_SWEEP: Final = np.linspace(0, 1, 51)
"""Thresholds tried of one exit while the others stay."""
_CHUNK: Final = 20


def study(scores: Mapping[str, Scores], policy: Policy, price: Price, points: Points | None = None) -> dict[str, Any]:
    """`frontier`, `alone`, `alternatives`, `sweeps` and `reliability`, each on every split of `scores`; and `search`.

    Points and alternatives are found on `scores["validation"]` under the policy's criterion and temperatures, with one
    set of thresholds for every number of live devices; `points` are those, if somebody has them.
    """
    policy = policy.model_copy(update={"live": {}})
    validation = scores["validation"]
    points = points or operating_points(validation, policy, price)
    asked = points.asked
    found = points.frontier()
    chosen = np.array([policy.thresholds.of(exit) for exit in asked.exits])
    sweeps = {}
    for place, exit in enumerate(asked.exits):
        tried = np.repeat(chosen[None], len(_SWEEP), axis=0)
        tried[:, place] = _SWEEP
        sweeps[exit.value] = _told(scores, policy, price, tried)
    return {
        "search": found.document(),
        "frontier": _told(scores, policy, price, found.thresholds[found.some()]),
        "alone": {
            exit.value: {
                name: _of(each, exit_alone(each, policy, exit), policy, price) for name, each in scores.items()
            }
            for exit in (*asked.exits, Exit.CLOUD)
        },
        "alternatives": [_alternative(scores, policy, price, points, drop) for drop in DROPS],
        "sweeps": sweeps,
        "reliability": {name: _reliability(each, policy) for name, each in scores.items()},
    }


def _alternative(
    scores: Mapping[str, Scores], policy: Policy, price: Price, points: Points, drop: float
) -> dict[str, Any]:
    """The cheapest point so far below the cloud, and what it does; the accuracy alone where there is none."""
    found = points.best(limits_of(scores["validation"], Objective(drop)), "cost").thresholds
    told: dict[str, Any] = {"max_accuracy_drop": drop, "thresholds": None}
    if not len(found):
        return told
    other = policy.model_copy(update={"thresholds": points.asked.thresholds(found[0])})
    by_split = {name: figures(each, other, price) for name, each in scores.items()}
    return told | {"thresholds": _by_exit(points.asked.exits, found[0])} | by_split


def _told(scores: Mapping[str, Scores], policy: Policy, price: Price, rows: Array) -> list[dict[str, Any]]:
    """Each row of thresholds (P, m), and on each split accuracy, mean cost and the share of each exit."""
    exits = ask(scores["validation"], policy).exits
    played = {name: _play(each, policy, price, rows) for name, each in scores.items()}
    return [
        {"thresholds": _by_exit(exits, row), **{name: told[place] for name, told in played.items()}}
        for place, row in enumerate(rows)
    ]


def _play(scores: Scores, policy: Policy, price: Price, rows: Array) -> list[dict[str, Any]]:
    """What each row of thresholds does; with one edge all of them at once."""
    asked = ask(scores, policy)
    if len(scores.topology.edges) > 1:
        others = (policy.model_copy(update={"thresholds": asked.thresholds(row)}) for row in rows)
        return [_of(scores, decide(scores, other), other, price) for other in others]
    right, cost = scores.right(asked.labels), costs(scores, policy.offload, price)
    events, seen, exits = np.arange(len(scores)), scores.there(Exit.CLOUD), (*asked.exits, Exit.CLOUD)
    told = []
    for start in range(0, len(rows), _CHUNK):
        for reached in asked.reached(rows[start : start + _CHUNK]):
            shares = np.bincount(reached[seen], minlength=len(exits)) / len(scores)
            told.append(
                {
                    "accuracy": float(right[events, reached].mean()),
                    "cost": float(cost[events, reached].mean()),
                    "exit_share": _by_exit(exits, shares),
                }
            )
    return told


def _of(scores: Scores, decisions: Decisions, policy: Policy, price: Price) -> dict[str, Any]:
    return {
        "accuracy": decisions.accuracy(scores.y),
        "cost": float(spent(scores, decisions, policy.offload, price).mean()),
        "exit_share": {exit.value: decisions.share(exit) for exit in scores.topology.exits},
    }


def _reliability(scores: Scores, policy: Policy) -> dict[str, Any]:
    """By exit: ECE and bins of the probability of its label, whatever the criterion; AUROC of the criterion."""
    told = calibration(scores, policy.model_copy(update={"criterion": "max_probability"}))
    return {name: each | {"auroc": auroc(*answers(scores, policy, Exit(name)))} for name, each in told.items()}


def _by_exit(exits: tuple[Exit, ...], values: Array) -> dict[str, float]:
    return {exit.value: float(value) for exit, value in zip(exits, values, strict=True)}
