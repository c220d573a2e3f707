"""Which measure of uncertainty tells best when to ask on: entropy, unless another is clearly better.

Legend: N events, P operating points, R resamples.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ddnn.policy import Policy
from ddnn.task import CRITERIA, check_criterion
from ddnn.tuning.calibration import calibration
from ddnn.tuning.frontier import frontier
from ddnn.tuning.promise import Doubles
from ddnn.tuning.sample import Asked, Sample
from ddnn.types import Array, Ints

__all__ = ["DEFAULT", "area", "compare_criteria", "criterion_of"]

DEFAULT: Final = "entropy"
RESAMPLES: Final = 500
_POINTS: Final = 64  #: operating points that an area is taken over, evenly by cost
_CHUNK: Final = 50


def compare_criteria(samples: Mapping[str, Sample], policy: Policy, *, seed: int = 0) -> dict[str, Any]:
    """Each criterion, judged on `samples["validation"]` and shown on every split; `chosen` is what `auto` takes.

    `policy` gives the temperatures, fitted on validation, which are the same under every criterion. On each split:
    `calibration` by exit (AUROC, ECE, bins) and `area`, the area under accuracy against mean cost, from all at the
    cheapest exit to all in the cloud, of the operating points found on validation. `gain` is what a criterion's area
    has over entropy's on validation, each half of it judged by the points found on the other, with a paired bootstrap
    interval; a criterion wins clearly when all of it is above 0.
    """
    validation = samples["validation"]
    validation.check()
    criteria: dict[str, Any] = {}
    curves: dict[str, Doubles] = {}
    for name in CRITERIA:
        judging = policy.model_copy(update={"criterion": name})
        costs, y = validation.costs(judging), validation.scores.y
        points = _points(validation.asked(judging), y, costs)
        criteria[name] = {
            split: {
                "area": area(points, sample.asked(judging), sample.scores.y, sample.costs(judging)),
                "calibration": calibration(sample.scores, sample.judged(judging)),
            }
            for split, sample in samples.items()
        }
        curves[name] = _crossed(validation.asked(judging), y, costs, seed)
    for name in CRITERIA:
        gains = curves[name] - curves[DEFAULT]
        low, high = np.quantile(gains[1:], (0.025, 0.975))
        criteria[name]["gain"] = {"area": float(gains[0]), "low": float(low), "high": float(high)}
    clear = [name for name in CRITERIA if criteria[name]["gain"]["low"] > 0]
    return {
        "chosen": max(clear, key=lambda name: criteria[name]["gain"]["area"], default=DEFAULT),
        "default": DEFAULT,
        "events": {split: len(sample) for split, sample in samples.items()},
        "resamples": RESAMPLES,
        "seed": seed,
        "criteria": criteria,
    }


def criterion_of(name: str | None, policy: Policy) -> str:
    """The criterion that a person asked for, by default the policy's own; raise `BadInput` for one that is unknown."""
    if name is None:
        return policy.criterion
    return check_criterion(name, "auto")


def area(points: Array, asked: Asked, y: Ints, costs: Array) -> float:
    """Mean accuracy over all budgets between the cheapest exit's mean cost and the cloud's, of thresholds (P, m)."""
    return float(_areas(points, asked, y, costs, np.ones((1, len(y)), np.float32))[0])


def _points(asked: Asked, y: Ints, costs: Array) -> Doubles:
    """(P, m): the frontier's thresholds, thinned, between all at the cheapest exit and all in the cloud."""
    found = frontier(asked.uncertainty, asked.labels == y[:, None], costs)
    cheapest = np.where(np.arange(len(asked.exits)) == costs.mean(axis=0)[:-1].argmin(), 2.0, 0.0)
    return np.concatenate([cheapest[None], found.thresholds[found.some(_POINTS)], np.zeros((1, len(asked.exits)))])


def _areas(points: Array, asked: Asked, y: Ints, costs: Array, weights: Array) -> Doubles:
    """(R,): the area with each event counted as often as each row of `weights` (R, N) says."""
    rows, reached = np.arange(len(y)), asked.reached(points)
    right = (asked.labels == y[:, None])[rows, reached].astype(np.float32)
    cost = costs.astype(np.float32)[rows, reached]
    total = weights.sum(axis=1, keepdims=True)
    accuracy, spent = weights @ right.T / total, weights @ cost.T / total
    order = np.argsort(spent, axis=1, kind="stable")
    accuracy, spent = (np.take_along_axis(each, order, axis=1).astype(np.float64) for each in (accuracy, spent))
    span = spent[:, -1] - spent[:, 0]
    under = (np.diff(spent, axis=1) * (accuracy[:, 1:] + accuracy[:, :-1]) / 2).sum(axis=1)
    return np.asarray(np.where(span > 0, under / np.where(span > 0, span, 1), accuracy.max(axis=1)))


def _crossed(asked: Asked, y: Ints, costs: Array, seed: int) -> Doubles:
    """(1 + R,): the area on both halves, each under the other's points, and the same of R resamples of the events.

    One seed gives every criterion the same halves and the same resamples: differences are paired.
    """
    rng = np.random.default_rng(seed)
    halves = np.array_split(rng.permutation(len(y)), 2)
    areas = np.zeros(1 + RESAMPLES)
    for mine, other in (halves, halves[::-1]):
        points = _points(asked.take(other), y[other], costs[other])
        held = asked.take(mine)
        weights = rng.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), size=RESAMPLES).astype(np.float32)
        weights = np.concatenate([np.ones((1, len(mine)), np.float32), weights])
        parts = [
            _areas(points, held, y[mine], costs[mine], weights[start : start + _CHUNK])
            for start in range(0, len(weights), _CHUNK)
        ]
        areas += np.concatenate(parts) * len(mine) / len(y)
    return areas
