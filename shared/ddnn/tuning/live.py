"""What exits judge by while fewer devices are there: temperatures and thresholds for each number of live devices.

Legend: N events, D devices, m exits below the cloud that are asked, P points of a frontier.
"""

from collections.abc import Callable

import numpy as np

from ddnn.evaluation import Recorder, Scores
from ddnn.policy import Judging, Policy
from ddnn.tuning.asked import FEWEST_EVENTS, ask
from ddnn.tuning.calibration import fit_temperatures
from ddnn.tuning.frontier import Frontier, frontier
from ddnn.types import Array, Bools

__all__ = ["at_price", "fit_live", "lose", "points_of", "price_of", "some"]

Costs = Callable[[Scores], Array]
"""(N, m + 1): what each event costs if answered at each of the exits asked in order."""


def fit_live(recorder: Recorder, policy: Policy, costs: Costs, *, seed: int = 0) -> dict[int, Judging]:
    """`Policy.live` for a chosen `policy`: sets of their own for each number of live devices below an edge's whole.

    Every event that has so many views is judged with that many of them, drawn at random under each edge. Thresholds are
    those with the fewest errors at the price that an error has under `policy`, with all devices: one price for all, so
    that no count spends where another would get more for it. A number that fewer than 50 events have is left out.
    """
    whole = recorder.scores()
    chosen = ask(whole, policy)
    limits = np.array([[policy.thresholds.of(exit) for exit in chosen.exits]])
    price = costs(whole)
    spent = price[np.arange(len(whole)), chosen.reached(limits)[0]].sum()
    worth = price_of(points_of(whole, policy, price), spent)

    groups = [np.asarray(edge.devices) for edge in recorder.topology.edges]
    found: dict[int, Judging] = {}
    for count in range(1, max(map(len, groups))):
        rng = np.random.default_rng((seed, count))
        present = np.zeros_like(whole.present)
        for group in groups:
            present[:, group] = some(whole.present[:, group], count, rng)
        full = np.all([present[:, group].sum(axis=1) == min(count, len(group)) for group in groups], axis=0)
        if full.sum() < FEWEST_EVENTS:
            continue
        scores = recorder.scores(present).take(np.flatnonzero(full))
        fitted = policy.model_copy(update={"temperatures": fit_temperatures(scores), "live": {}})
        limit = at_price(points_of(scores, fitted, costs(scores)), worth)
        found[count] = Judging(thresholds=chosen.thresholds(limit), temperatures=fitted.temperatures)
    return found


def points_of(scores: Scores, policy: Policy, costs: Array) -> Frontier:
    """The frontier of wrong answers against cost, under the criterion and temperatures of `policy`."""
    asked = ask(scores, policy)
    return frontier(asked.uncertainty, scores.right(asked.labels), costs)


def price_of(points: Frontier, spent: float) -> float:
    """How many errors a unit of cost saves, for whoever picks the point that costs `spent`.

    The slope, there, of the convex hull below the frontier. A point above the hull, that only a limit makes a choice,
    has the price of the hull below it.
    """
    hull: list[int] = []
    for point in range(len(points.cost)):
        while len(hull) > 1 and _saved(points, hull[-2], hull[-1]) <= _saved(points, hull[-1], point):
            hull.pop()
        hull.append(point)
    if len(hull) == 1:
        return 0.0
    place = int(np.clip(np.searchsorted(points.cost[hull], spent - 1e-9 * abs(spent)), 1, len(hull) - 1))
    return _saved(points, hull[place - 1], hull[place])


def at_price(points: Frontier, price: float) -> Array:
    """(m,) thresholds of the point with the fewest errors plus `price` × cost."""
    return np.asarray(points.thresholds[(points.wrong + price * points.cost).argmin()])


def some(present: Bools, count: int, rng: np.random.Generator) -> Bools:
    """`count` of the present devices of each event (N, D), at random; all of them where there are no more."""
    order = np.where(present, rng.random(present.shape), 2).argsort(axis=1).argsort(axis=1)
    return np.asarray(present & (order < count))


def lose(present: Bools, share: float, rng: np.random.Generator) -> Bools:
    """Each present device of each event (N, D) lost with chance `share`, but never the last."""
    left = present & (rng.random(present.shape) >= share)
    nobody = np.flatnonzero(~left.any(axis=1))
    left[nobody] = some(present[nobody], 1, rng)
    return np.asarray(left)


def _saved(points: Frontier, low: int, high: int) -> float:
    return float((points.wrong[low] - points.wrong[high]) / (points.cost[high] - points.cost[low]))
