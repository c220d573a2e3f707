"""What is to be had where thresholds cannot keep to every limit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ddnn.errors import Infeasible
from ddnn.formatting import percent
from ddnn.policy import Policy
from ddnn.tuning.frontier import Frontier
from ddnn.tuning.objective import Objective
from ddnn.tuning.points import Points
from ddnn.tuning.recall import MinRecall, misses, wanted
from ddnn.tuning.sample import Sample

__all__ = ["closest_recall", "infeasible", "unmet", "unmet_sentences"]

_MOST_CLASSES: Final = 20  #: classes whose recall is raised one by one
_MOST_SAID: Final = 3  #: classes that a sentence is said of


def closest_recall(sample: Sample, policy: Policy, objective: Objective, points: Points) -> Objective | None:
    """`objective` with recalls as near to those asked for as its other limits allow; None if these do not hold alone.

    All fall in proportion, the least that is possible; then each rises again as far as it can.
    """
    limits, asked, events = objective.limits(sample, policy), objective.recalls(sample), sample.class_events

    def holds(least: Mapping[int, float]) -> bool:
        within = replace(limits, classes=misses(least, events))
        return bool(len(points.best(within, objective.minimise).wrong))

    found = dict.fromkeys(asked, 0.0)
    if not holds(found):
        return None
    for wish in [asked, *({index: share} for index, share in list(asked.items())[:_MOST_CLASSES])]:
        found = _towards(found, {**found, **wish}, holds, 1 / (2 * max(int(events[index]) for index in wish)))
    nearest: MinRecall = {index: share for index, share in found.items()}
    return replace(objective, min_recall=nearest)


def _towards(
    found: dict[int, float], wish: dict[int, float], holds: Callable[[Mapping[int, float]], bool], step: float
) -> dict[int, float]:
    """The nearest to `wish` that holds on the line from `found`, which does, to a part `step` of it."""
    low, high, tried = 0.0, 1.0, 1.0
    while True:
        between = {index: share + tried * (wish[index] - share) for index, share in found.items()}
        low, high = (tried, high) if holds(between) else (low, tried)
        if high - low <= step:
            return {index: share + low * (wish[index] - share) for index, share in found.items()}
        tried = (low + high) / 2


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


def unmet_sentences(missed: Sequence[Mapping[str, Any]]) -> list[str]:
    """Entries of `unmet`, for people: those that lack most, and how many others there are."""
    lacking = sorted(missed, key=lambda each: each["reached"] - each["asked"])
    said = [
        f"recall of class {each['class']} is {percent(each['reached'])} of {each['events']:,} validation events"
        f" at best, {percent(each['asked'])} was asked for; the {each['exit']} exit alone has"
        f" {percent(each['exit_recall'])}"
        for each in lacking[:_MOST_SAID]
    ]
    others = len(lacking) - len(said)
    return said + ([f"so it is with {others:,} more of the classes"] if others else [])


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
    says = "; ".join([says or "nothing with one limit given up", *unmet_sentences(missed)])
    return Infeasible(
        f"no thresholds {' and '.join(asked)} on {len(sample)} events,"
        f" where the {best['exit']} exit alone has {best[kind]:.4f}; nearest: {says}",
        nearest,
    )
