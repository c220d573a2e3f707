"""Thresholds chosen at the site itself: on half of the test events, judged on the other half, and the other way round.

What is asked for is a share of what it would cost to send every view of every event to the cloud.
Legend: N events.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ddnn.errors import BadData, Infeasible
from ddnn.evaluation import Scores, decide
from ddnn.evaluation.decide import exit_alone
from ddnn.policy import Policy
from ddnn.tuning import Objective, Sample, choose
from ddnn.tuning.cost import exits_asked
from ddnn.types import Exit, Ints
from ddnn_lab.studies.offload import random_offload
from ddnn_lab.studies.subject import Subject

__all__ = ["SHARES", "site"]

SHARES: Final = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75)
"""Of the bytes of all views, on both links, asked for."""


def site(subject: Subject) -> dict[str, Any] | None:
    """Accuracy and bytes for each share asked for, beside random offload and one exit alone; None without views up.

    Every number is over all test events, each under the thresholds that the half which it is not in has given. `away`
    is what thresholds chosen on validation spend on test.
    """
    scores, policy = subject.test, subject.policy
    if scores.view_bytes is None or len(scores) < 2:
        return None
    halves = [np.arange(start, len(scores), 2) for start in range(2)]
    alone = {exit.value: _alone(scores, policy, exit) for exit in exits_asked(scores.topology)}
    points = []
    for share in SHARES:
        ways = [_chosen(scores.take(halves[1 - half]), policy, share) for half in range(2)]
        if all(ways):
            points.append(_point(scores, halves, [way for way in ways if way], share, alone))
    return {
        "events": len(scores),
        "every_view": every_view(scores),
        "exits": alone,
        "points": points,
        "away": [_away(subject, share) for share in SHARES],
    }


def every_view(scores: Scores) -> float:
    """Bytes of all views of an event as the cloud takes them, from device to edge and from there to the cloud."""
    return 0.0 if scores.view_bytes is None else 2 * float((scores.view_bytes * scores.present).sum(axis=1).mean())


def _chosen(known: Scores, policy: Policy, share: float) -> Policy | None:
    """The most accurate thresholds that cost `share` of every view; None where there is no such, or too few events."""
    aim = Objective(None, max_cost=share * every_view(known))
    try:
        return choose(Sample(known), policy, aim).policy
    except (BadData, Infeasible):
        return None


def _point(
    scores: Scores, halves: Sequence[Ints], ways: Sequence[Policy], share: float, alone: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """What the thresholds of each half do to the other, over both."""
    parts = [(scores.take(rows), way) for rows, way in zip(halves, ways, strict=True)]
    asked = [share * every_view(scores.take(rows)) for rows in reversed(halves)]
    outcomes = [Sample(part).outcome(way) for part, way in parts]
    weight = np.array([len(part) for part, _ in parts]) / len(scores)
    spent = float(weight @ [outcome.cost for outcome in outcomes])
    random = [random_offload(part, way, decide(part, way)) for part, way in parts]
    affordable = [exit["accuracy"] for exit in alone.values() if exit["bytes"] <= spent]
    return {
        "asked": f"{share:g}",
        "accuracy": float(weight @ [outcome.accuracy for outcome in outcomes]),
        "bytes": spent,
        "share": spent / every_view(scores),
        "spent_of_asked": spent / float(weight @ asked),
        "most_spent_of_asked": max(outcome.cost / each for outcome, each in zip(outcomes, asked, strict=True)),
        "exit_share": {
            exit.value: float(weight @ [outcome.share(exit) for outcome in outcomes])
            for exit in exits_asked(scores.topology)
        },
        "above_random": float(weight @ [o.accuracy for o in outcomes]) - float(weight @ random),
        "above_one_exit": float(weight @ [o.accuracy for o in outcomes]) - max(affordable, default=0.0),
        "above_mixed": float(weight @ [o.accuracy for o in outcomes]) - mixed(alone, spent),
    }


def _alone(scores: Scores, policy: Policy, exit: Exit) -> dict[str, float]:
    """One exit for every event, and what that costs."""
    below = {other.value: 0.0 for other in Exit if other is not Exit.CLOUD}
    limits = policy.thresholds.model_copy(update={**below, exit.value: 2.0} if exit is not Exit.CLOUD else below)
    outcome = Sample(scores).outcome(policy.at(limits))
    return {"accuracy": exit_alone(scores, policy, exit).accuracy(scores.y), "bytes": outcome.cost}


def mixed(alone: dict[str, dict[str, float]], bytes: float) -> float:
    """The most accuracy that `bytes` an event buy where chance alone says which exit answers: a mixture of two."""
    exits = [(exit["bytes"], exit["accuracy"]) for exit in alone.values()]
    best = max((accuracy for cost, accuracy in exits if cost <= bytes), default=0.0)
    for low, worse in exits:
        for high, better in exits:
            if low <= bytes < high:
                best = max(best, worse + (better - worse) * (bytes - low) / (high - low))
    return best


def _away(subject: Subject, share: float) -> dict[str, Any]:
    """What thresholds chosen on validation, which is of the training's own places, do to test."""
    way = _chosen(subject.validation, subject.policy, share)
    outcome = way and Sample(subject.test).outcome(way)
    return {
        "asked": f"{share:g}",
        "accuracy": outcome.accuracy if outcome else None,
        "share": outcome.cost / every_view(subject.test) if outcome else None,
    }
