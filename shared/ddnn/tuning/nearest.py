"""What is to be had where thresholds cannot keep to every limit."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ddnn.errors import Infeasible
from ddnn.formatting import percent
from ddnn.policy import Policy
from ddnn.tuning.frontier import Frontier
from ddnn.tuning.objective import Objective
from ddnn.tuning.points import Points
from ddnn.tuning.recall import wanted
from ddnn.tuning.sample import Sample

__all__ = ["closest_recall", "infeasible", "unmet", "unmet_sentence"]

_MOST_CLASSES: Final = 20  #: classes whose limit is tried one by one


def closest_recall(sample: Sample, policy: Policy, objective: Objective, points: Points) -> Objective | None:
    """`objective` with recalls as near to those asked for as its other limits allow; None if these do not hold alone.

    All fall by the same, which is the least that is possible; then each that can be kept whole is.
    """
    limits, asked = objective.limits(sample, policy), objective.recalls(sample)

    def holds(lower: Objective) -> bool:
        return bool(len(points.best(replace(limits, classes=lower.misses(sample)), objective.minimise).wrong))

    low, high, step = 0.0, 1.0, 1 / (2 * max(int(sample.class_events[index]) for index in asked))
    if not holds(objective.relaxed(sample, high)):
        return None
    while high - low > step:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(objective.relaxed(sample, middle)) else (middle, high)
    found = objective.relaxed(sample, high)
    for index in list(asked)[:_MOST_CLASSES]:
        whole = replace(found, min_recall={**found.min_recall, index: asked[index]})
        found = whole if holds(whole) else found
    return found


def unmet(sample: Sample, policy: Policy, objective: Objective) -> list[dict[str, Any]]:
    """Each class whose recall under `policy` is below what is asked for, and the exit that would be best, as JSON."""
    reached, alone = sample.recall(sample.outcome(policy)), sample.alone(policy)
    by_exit = {exit: sample.recall(outcome) for exit, outcome in alone.items()}
    found = []
    for index, asked in objective.misses(sample).items():
        events = int(sample.class_events[index])
        if round(events * (1 - (reached[index] or 0))) > asked:
            best = max(by_exit, key=lambda exit: by_exit[exit][index] or 0)
            found.append(
                {
                    "class": sample.names[index],
                    "events": events,
                    "asked": objective.recalls(sample)[index],
                    "reached": reached[index],
                    "exit": best.value,
                    "exit_recall": by_exit[best][index],
                }
            )
    return found


def unmet_sentence(missed: Mapping[str, Any]) -> str:
    """One entry of `unmet`, for people."""
    return (
        f"recall of class {missed['class']} is {percent(missed['reached'])} of {missed['events']:,} validation events"
        f" at best, {percent(missed['asked'])} was asked for; the {missed['exit']} exit alone has"
        f" {percent(missed['exit_recall'])}"
    )


def infeasible(sample: Sample, policy: Policy, objective: Objective, points: Points) -> Infeasible:
    """What was asked for, and what there is when one of the limits is given up."""
    asked, cost, limits = list[str](), sample.cost, objective.limits(sample, policy)
    kind = "balanced_accuracy" if objective.balanced else "accuracy"
    named = kind.replace("_", " ")
    best = sample.best_exit(policy, objective.weights(sample))
    loosened: dict[str, Frontier] = {}
    if objective.max_accuracy_drop is not None:
        article = "a" if objective.balanced else "an"
        asked.append(f"reach {article} {named} of {best[kind] - objective.max_accuracy_drop:.4f}")
        loosened["accuracy"] = points.best(replace(limits, most_wrong=None), "wrong")
    if objective.max_cost is not None:
        asked.append(f"cost at most {cost.text(objective.max_cost)} an event")
        loosened["cost"] = points.best(replace(limits, most_cost=None), "cost")
    if objective.max_share:
        shares = (f"at most {100 * share:.4g} % at {exit}" for exit, share in objective.max_share.items())
        asked.append(f"answer {', '.join(shares)}")
        loosened["shares"] = points.best(replace(limits, caps=None), objective.minimise)
    if objective.min_recall:
        asked += (f"keep {least}" for least in wanted(objective.min_recall, sample.names))
        if closest := closest_recall(sample, policy, objective, points):
            loosened["recall"] = points.best(closest.limits(sample, policy), objective.minimise)
    nearest, missed = list[dict[str, Any]](), list[dict[str, Any]]()
    recalls = objective.recalls(sample)
    for limit, found in loosened.items():
        for row, outcome in zip(found.thresholds, sample.outcomes(policy, found.thresholds), strict=True):
            thresholds, recall = points.asked.thresholds(row), sample.recall(outcome)
            near = {"without": limit, "thresholds": thresholds.model_dump(), **sample.figures(outcome)}
            nearest.append(near | {"recall": {sample.names[index]: recall[index] for index in recalls}})
            if limit == "recall":
                missed = unmet(sample, policy.at(thresholds), objective)
    says = "; ".join(
        f"with no limit on {near['without']}, an accuracy of {near['accuracy']:.4f}"
        f" at {cost.text(near['cost']['mean'])} an event, {percent(near['exit_share']['cloud'])} at the cloud"
        for near in nearest
    )
    says = "; ".join([says or "nothing with one limit given up", *map(unmet_sentence, missed)])
    return Infeasible(
        f"no thresholds {' and '.join(asked)} on {len(sample)} events,"
        f" where the {best['exit']} exit alone has {best[kind]:.4f}; nearest: {says}",
        nearest,
    )
