"""What exits judge by while fewer devices are there: temperatures and thresholds for each number of live devices.

Legend: N events, D devices, m exits below the cloud that are asked, P points of a frontier.
"""

from dataclasses import replace

import numpy as np

from ddnn.evaluation import Recorder
from ddnn.policy import Judging, Policy
from ddnn.tuning.calibration import fit_temperatures
from ddnn.tuning.frontier import Frontier, Limits, frontier
from ddnn.tuning.objective import Objective, below
from ddnn.tuning.sample import FEWEST_EVENTS, Sample
from ddnn.types import Array, Bools, Ints

__all__ = ["best_at", "fit_live", "rate_at", "some"]


def fit_live(
    recorder: Recorder, whole: Sample, policy: Policy, objective: Objective | None = None, *, seed: int = 0
) -> dict[int, Judging]:
    """`Policy.live` for a chosen `policy`: sets of their own for each number of live devices below an edge's whole.

    `whole` has the events of `recorder` with all their devices. Every event that has so many views is judged with that
    many of them, drawn at random under each edge. Thresholds are those with the fewest errors at the cost that an error
    saved has under `policy`, with all devices: one rate for all, so that no count spends where another would get more
    for it. Of `objective` the limits on recall hold where they can, and errors weigh as it says. No event goes up to
    exits above the one that is best alone with so many devices. A number that fewer than 50 events have is left out.
    """
    objective = objective or Objective()
    weights, asked = objective.weights(whole), whole.asked(policy)
    limits = np.array([[policy.thresholds.of(exit) for exit in asked.exits]])
    spent = whole.costs(policy)[np.arange(len(whole)), asked.reached(limits)[0]].sum()
    rate = rate_at(_points(whole, policy, Limits(), weights), spent)

    present, groups = whole.scores.present, [np.asarray(edge.devices) for edge in recorder.topology.edges]
    found: dict[int, Judging] = {}
    for count in range(1, max(map(len, groups))):
        rng = np.random.default_rng((seed, count))
        left = np.zeros_like(present)
        for group in groups:
            left[:, group] = some(present[:, group], count, rng)
        full = np.all([left[:, group].sum(axis=1) == min(count, len(group)) for group in groups], axis=0)
        if full.sum() < FEWEST_EVENTS:
            continue
        fewer = Sample(recorder.scores(left).take(np.flatnonzero(full)), whole.cost, whole.names)
        fitted = policy.model_copy(update={"temperatures": fit_temperatures(fewer.scores), "live": {}})
        thresholds = asked.thresholds(_chosen(fewer, fitted, objective, rate, weights))
        found[count] = Judging(thresholds=thresholds, temperatures=fitted.temperatures)
    return found


def _chosen(sample: Sample, policy: Policy, objective: Objective, rate: float, weights: Ints | None) -> Array:
    """(m,) thresholds at a rate: with the exits above the best one closed, else open, else without limits on recall."""
    exits, best = sample.asked(policy).exits, sample.best_exit(policy, weights)["exit"]
    there = np.flatnonzero(sample.class_events)
    known = {index: share for index, share in objective.min_recall.items() if index is None or index in there}
    limits = Limits(classes=replace(objective, min_recall=known).misses(sample))
    closed = below(limits, sample.asked(policy), best)
    for tried in (closed, limits, Limits()):
        points = _points(sample, policy, tried, weights)
        if len(points.wrong):
            break
    limit = best_at(points, rate)
    return np.where([tried is closed and exit == best for exit in exits], 1.0, limit)


def rate_at(points: Frontier, cost: float) -> float:
    """How many errors a unit of cost saves at the point that costs `cost`.

    The slope, there, of the convex hull below the frontier. A point above the hull, that only a limit makes a choice,
    has the slope of the hull below it.
    """
    hull: list[int] = []
    for point in range(len(points.cost)):
        while len(hull) > 1 and _saved(points, hull[-2], hull[-1]) <= _saved(points, hull[-1], point):
            hull.pop()
        hull.append(point)
    if len(hull) == 1:
        return 0.0
    place = int(np.clip(np.searchsorted(points.cost[hull], cost - 1e-9 * abs(cost)), 1, len(hull) - 1))
    return _saved(points, hull[place - 1], hull[place])


def best_at(points: Frontier, rate: float) -> Array:
    """(m,) thresholds of the point with the fewest errors plus `rate` × cost."""
    return np.asarray(points.thresholds[(points.wrong + rate * points.cost).argmin()])


def some(present: Bools, count: int, rng: np.random.Generator) -> Bools:
    """`count` of the present devices of each event (N, D), at random; all of them where there are no more."""
    order = np.where(present, rng.random(present.shape), 2).argsort(axis=1).argsort(axis=1)
    return np.asarray(present & (order < count))


def _points(sample: Sample, policy: Policy, limits: Limits, weights: Ints | None) -> Frontier:
    """The frontier of wrong answers against cost, under the criterion and temperatures of `policy`."""
    asked, y = sample.asked(policy), sample.scores.y
    return frontier(asked.uncertainty, sample.right(policy), sample.costs(policy), limits, y=y, weights=weights)


def _saved(points: Frontier, low: int, high: int) -> float:
    return float((points.wrong[low] - points.wrong[high]) / (points.cost[high] - points.cost[low]))
