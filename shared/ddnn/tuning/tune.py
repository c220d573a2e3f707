"""Choosing the temperatures and thresholds of a policy on the validation split."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ddnn.errors import Infeasible
from ddnn.evaluation import Scores, decide
from ddnn.policy import Judging, Policy
from ddnn.tuning.asked import enough
from ddnn.tuning.calibration import fit_temperatures
from ddnn.tuning.cost import Price, exits_asked, spent
from ddnn.tuning.criteria import criterion_of
from ddnn.tuning.frontier import Frontier
from ddnn.tuning.objective import DROP, Objective, amount
from ddnn.tuning.objective_points import Limits, Points, operating_points
from ddnn.tuning.promise import promise
from ddnn.types import Array, Exit

__all__ = ["Chosen", "choose", "figures", "limits_of", "remember", "tune"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A policy, and what it was chosen from."""

    policy: Policy
    points: Points


def tune(
    scores: Scores,
    policy: Policy,
    *,
    max_accuracy_drop: float = DROP,
    criterion: str | None = None,
    price: Price | None = None,
) -> Policy:
    """`policy`, one version on, with the lowest cost at an accuracy at most `max_accuracy_drop` below the cloud's."""
    return choose(scores, policy, Objective(max_accuracy_drop), criterion=criterion, price=price).policy


def choose(
    scores: Scores,
    policy: Policy,
    objective: Objective | None = None,
    *,
    criterion: str | None = None,
    price: Price | None = None,
) -> Chosen:
    """`policy`, one version on, with temperatures and thresholds fitted on `scores`, as `objective` wants them.

    By default the fewest payload bytes. The device exit stays off in a group; with one device it takes the local exit's
    place, whose answer would repeat it. Thresholds lie between neighbouring values and serve every number of live
    devices. Raises `BadData` for too few events, one class or scores that are not finite, `Infeasible`, with what comes
    nearest, when nothing keeps to the limits.
    """
    objective, price = objective or Objective(), price or Price()
    enough(scores)
    fitted = policy.model_copy(
        update={
            "version": policy.version + 1,
            "criterion": criterion_of(criterion, policy),
            "temperatures": fit_temperatures(scores),
            "live": {},
            "promise": None,
            "tuned": None,
        }
    )
    limits = limits_of(scores, objective)
    points = operating_points(scores, fitted, price)
    found = points.best(limits, objective.minimise)
    if not len(found.wrong):
        raise _infeasible(scores, fitted, objective, limits, points, price)
    told = {
        **scores.source,
        "events": len(scores),
        "criterion": fitted.criterion,
        "objective": objective.document(),
        "cost": price.document(),
        "search": found.document(),
    }
    chosen = fitted.model_copy(update={"thresholds": points.asked.thresholds(found.thresholds[0]), "tuned": told})
    return Chosen(remember(scores, chosen, price), points)


def remember(scores: Scores, policy: Policy, price: Price, live: Mapping[int, Judging] | None = None) -> Policy:
    """`policy` with what it does on `scores` and so promises; with sets of their own for numbers of `live` devices."""
    chosen = policy.model_copy(update={"live": dict(live or {})})
    told = {**(policy.tuned or {}), "validation": figures(scores, chosen, price)}
    return chosen.model_copy(update={"tuned": told, "promise": promise(scores, chosen)})


def figures(scores: Scores, policy: Policy, price: Price | None = None) -> dict[str, Any]:
    """What `policy` does on `scores`: events, overall and cloud accuracy, share of events per exit, mean cost."""
    decisions, price = decide(scores, policy), price or Price()
    cost = spent(scores, decisions, policy.offload, price)
    return {
        "events": len(scores),
        "accuracy": decisions.accuracy(scores.y),
        "cloud_accuracy": float(_cloud_right(scores).mean()),
        "exit_share": {exit.value: decisions.share(exit) if exit in scores.topology.exits else None for exit in Exit},
        "cost": {"kind": price.kind, "unit": price.unit, "over": price.over, "mean": float(cost.mean())},
    }


def limits_of(scores: Scores, objective: Objective) -> Limits:
    """What an objective asks for, in events and in cost summed over these."""
    events, drop = len(scores), objective.max_accuracy_drop
    return Limits(
        most_wrong=None if drop is None else events - math.ceil((_cloud_right(scores).mean() - drop) * events - 1e-9),
        most_cost=None if objective.max_cost is None else objective.max_cost * events,
        caps=objective.caps(exits_asked(scores.topology), events),
    )


def _cloud_right(scores: Scores) -> Array:
    """(N,): an event that nobody saw has no answer, so no right one."""
    return np.asarray(scores.there(Exit.CLOUD) & scores.right(scores.labels(Exit.CLOUD)))


def _infeasible(
    scores: Scores, policy: Policy, objective: Objective, limits: Limits, points: Points, price: Price
) -> Infeasible:
    """What was asked for, and what there is when one of the limits is given up."""
    asked, cloud = [], float(_cloud_right(scores).mean())
    loosened: dict[str, Frontier] = {}
    if objective.max_accuracy_drop is not None:
        asked.append(f"reach an accuracy of {cloud - objective.max_accuracy_drop:.4f}")
        loosened["accuracy"] = points.best(replace(limits, most_wrong=None), "wrong")
    if objective.max_cost is not None:
        asked.append(f"cost at most {amount(objective.max_cost, price)} an event")
        loosened["cost"] = points.best(replace(limits, most_cost=None), "cost")
    if objective.max_share:
        shares = (f"at most {100 * share:.4g} % at {exit}" for exit, share in objective.max_share.items())
        asked.append(f"answer {', '.join(shares)}")
        loosened["shares"] = points.best(replace(limits, caps=(None,) * len(limits.caps)), objective.minimise)
    nearest = []
    for limit, found in loosened.items():
        for row in found.thresholds:
            near = policy.model_copy(update={"thresholds": points.asked.thresholds(row)})
            nearest.append(
                {"without": limit, "thresholds": near.thresholds.model_dump(), **figures(scores, near, price)}
            )
    says = "; ".join(
        f"with no limit on {near['without']}, an accuracy of {near['accuracy']:.4f}"
        f" at {amount(near['cost']['mean'], price)} an event, {100 * near['exit_share']['cloud']:.1f} % at the cloud"
        for near in nearest
    )
    return Infeasible(
        f"no thresholds {' and '.join(asked)} on {len(scores)} events, where the cloud exit alone has {cloud:.4f};"
        f" nearest: {says or 'nothing with one limit given up'}",
        nearest,
    )
