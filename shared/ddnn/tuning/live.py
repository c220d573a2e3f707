"""What exits judge by while fewer devices are there: temperatures and thresholds for each number of live devices.

Legend: N events, D devices, P points of a frontier.
"""

from collections.abc import Callable

import numpy as np

from ddnn.errors import Infeasible
from ddnn.evaluation import Recorder, Scores
from ddnn.policy import Judging, Policy, Thresholds
from ddnn.tuning.asked import FEWEST_EVENTS, ask
from ddnn.tuning.frontier import frontier
from ddnn.tuning.temperature import fit_temperatures
from ddnn.types import Array, Bools, Ints

__all__ = ["Choose", "at_price", "fit_live", "lose", "price_of", "some"]

Choose = Callable[[Scores, Policy], Thresholds]
"""Picks thresholds for a policy whose temperatures are fitted; may raise `Infeasible`."""


def fit_live(recorder: Recorder, policy: Policy, choose: Choose, *, seed: int = 0) -> dict[int, Judging]:
    """`Policy.live`: for each number of live devices below an edge's whole, its temperatures, and what `choose` picks.

    Every event that has so many views is judged with that many of them, drawn at random under each edge. A number that
    fewer than 50 events have, or for which no thresholds are feasible, is left to the base set.
    """
    everywhere = recorder.scores().present
    groups = [np.asarray(edge.devices) for edge in recorder.topology.edges]
    found: dict[int, Judging] = {}
    for count in range(1, max(map(len, groups))):
        rng = np.random.default_rng((seed, count))
        present = np.zeros_like(everywhere)
        for group in groups:
            present[:, group] = some(everywhere[:, group], count, rng)
        full = np.all([present[:, group].sum(axis=1) == min(count, len(group)) for group in groups], axis=0)
        if full.sum() < FEWEST_EVENTS:
            continue
        scores = recorder.scores(present).take(np.flatnonzero(full))
        fitted = policy.model_copy(update={"temperatures": fit_temperatures(scores), "live": {}})
        try:
            found[count] = Judging(thresholds=choose(scores, fitted), temperatures=fitted.temperatures)
        except Infeasible:
            continue
    return found


def price_of(accuracy: Array, cost: Array, chosen: float) -> float:
    """What one unit of cost is worth, in accuracy, to whoever picks the point of mean cost `chosen`: (P,), (P,).

    The slope, there, of the concave hull over the frontier. A point that all its neighbours are worse than at every
    price is nobody's choice but a constraint's: it has the price of the hull above it.
    """
    order = np.lexsort((-accuracy, cost))
    hull: list[int] = []
    for point in order:
        if hull and accuracy[point] <= accuracy[hull[-1]]:
            continue
        while len(hull) > 1 and _slope(accuracy, cost, hull[-2], hull[-1]) <= _slope(accuracy, cost, hull[-1], point):
            hull.pop()
        hull.append(int(point))
    if len(hull) == 1:
        return 0.0
    place = int(np.clip(np.searchsorted(cost[hull], chosen - 1e-12 * abs(chosen)), 1, len(hull) - 1))
    return _slope(accuracy, cost, hull[place - 1], hull[place])


def _slope(accuracy: Array, cost: Array, low: int, high: int) -> float:
    return float((accuracy[high] - accuracy[low]) / (cost[high] - cost[low]))


def at_price(price: float, costs: Callable[[Scores], Array]) -> Choose:
    """Picks the thresholds with the most accuracy minus `price` × cost; one price for all counts.

    Then no count spends where another would get more for it, so that for the accuracy of all together nothing cheaper
    is left. `costs` gives (N, m + 1), what each event costs if answered at each of the exits asked in order.
    """

    def choose(scores: Scores, policy: Policy) -> Thresholds:
        asked = ask(scores, policy)
        found = frontier(asked.unsureness, asked.labels == scores.y[:, None], costs(scores))
        best = int((found.wrong + price * found.cost).argmin())
        return asked.thresholds(found.thresholds[best])

    return choose


def some(present: Bools, count: int, rng: np.random.Generator) -> Bools:
    """`count` of the present devices of each event (N, D), at random; all of them where there are no more."""
    order = np.where(present, rng.random(present.shape), 2).argsort(axis=1).argsort(axis=1)
    return np.asarray(present & (order < count))


def lose(present: Bools, share: float, rng: np.random.Generator) -> Bools:
    """Each present device of each event (N, D) lost with chance `share`, but never the last."""
    left = present & (rng.random(present.shape) >= share)
    nobody: Ints = np.flatnonzero(~left.any(axis=1))
    left[nobody] = some(present[nobody], 1, rng)
    return np.asarray(left)
