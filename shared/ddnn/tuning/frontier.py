"""The frontier of wrong answers against cost, over the thresholds of all exits jointly.

Which thresholds matter. Let costs be additive over events and, for each event, not fall from exit to exit. Raise one
exit's threshold past the values of some events, the others' fixed. Only events that reach the exit and have one of
these values change their answer: from a later exit's to this one's, which costs no more. Unless this exit gets such an
event wrong and a later one right, the answer is no worse either. So a threshold may rise, losing nothing, until it
stands at the value of an event that this exit gets wrong and a later one right, or at the top: these are all the
candidates, and every other combination is matched or beaten by a combination of these. A cap on how many events an exit
below the cloud answers forbids rising past others too: such an exit keeps all its distinct values. A limit on the wrong
answers of one class does not: no class loses either. Nor does it matter how much each wrong answer counts.

Legend: N events, m exits below the cloud, asked in turn; P points.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final, Literal

import numpy as np

from ddnn.errors import BadInput
from ddnn.tuning.frontier_search import NEVER, NONE, Ceiling, Cells, Found, search
from ddnn.types import Array, Bools, Floats, Ints

__all__ = ["BOXES", "Frontier", "Limits", "Minimise", "best", "evenly", "frontier", "split_between"]

Minimise = Literal["cost", "wrong"]

BOXES: Final = 100_000_000
"""Boxes of thresholds looked into before the search ends: a few seconds, the same answer on every machine."""
_WHOLE: Final = 2**52
"""Costs are counted in whole units so small that the largest sum is near this: sums are then exact."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a point must keep to; None: no limit."""

    most_wrong: int | None = None  #: in the unit of the wrong answers of a `Frontier`
    most_cost: float | None = None  #: summed over the events
    caps: tuple[int | None, ...] | None = None  #: (m + 1,) events that each exit may answer
    classes: Mapping[int, int] = field(default_factory=dict)  #: events of a class that may be wrong


@dataclass(frozen=True, slots=True)
class Frontier:
    """Operating points none of which another matches or beats, from the cheapest on."""

    thresholds: Array  #: (P, m), each between two neighbouring values of its exit, as a short number; 0 = never
    wrong: Ints  #: (P,) wrong answers, each counted as often as the weight of its class says
    cost: Array  #: (P,) sum over the events
    exact: bool  #: whether nothing else can be better
    largest_loss: int | None
    """How many fewer wrong answers other thresholds could have at most, at the same cost or less; None: unknown, or
    wrong answers count more than once."""
    largest_loss_cost: float | None
    """How much less other thresholds could cost at most, with as many wrong answers or fewer; None: unknown."""
    combinations: int  #: how many combinations of thresholds divide the events differently
    looked_at: int  #: how many of them, or of boxes of them, were looked at

    def some(self, most: int = 300) -> Ints:
        """At most so many rows of the points, evenly by rank, to be shown or tried."""
        return evenly(np.arange(len(self.wrong)), most)

    def document(self) -> dict[str, Any]:
        """How far the search went, as JSON."""
        return {
            "exact": self.exact,
            "largest_loss": {"wrong_answers": self.largest_loss, "cost": self.largest_loss_cost},
            "combinations": self.combinations,
            "looked_at": self.looked_at,
        }


def frontier(
    criteria: Floats,
    right: Bools,
    costs: Array,
    limits: Limits | None = None,
    *,
    y: Ints | None = None,
    kept: Bools | None = None,
    weights: Ints | None = None,
    budget: int = BOXES,
) -> Frontier:
    """All points worth having. An event is answered at the first exit whose criterion is below its threshold.

    `criteria` (N, m), 1 or infinite where an exit never answers; `right` (N, m + 1) whether each exit, then the cloud,
    is right, or any other yes or no; `costs` (N, m + 1) what an event costs if answered there; of `limits` those on
    shares and classes count; `y` (N,) the class of each event, `kept` (N, m + 1) whether an answer is that class, by
    default whether it is right; `weights` (K,) how often a wrong answer to each class
    counts, by default once. Exact unless more than `budget` boxes of thresholds would have to be looked into.
    Where costs fall from exit to exit nothing bounds a box: every combination is looked at, or if they are too many an
    even part of them, with no bound on the loss. Raises `BadInput` for what is no such matrix.
    """
    problem = _Problem(criteria, right, costs, limits or Limits(), y, kept, weights, budget)
    found = problem.search(lambda cost: cost)
    before = np.concatenate([[NONE], found.cost[:-1]])
    points = np.flatnonzero(found.own < before)[::-1]
    gains = np.diff(found.own[points], append=NONE) > len(right)  # a cost is rounded once an event: less is no gain
    return problem.points(found, points[gains])


def best(
    criteria: Floats,
    right: Bools,
    costs: Array,
    limits: Limits,
    minimise: Minimise = "cost",
    *,
    y: Ints | None = None,
    weights: Ints | None = None,
    budget: int = BOXES,
) -> Frontier:
    """The one point of the frontier that is cheapest, or least often wrong, within limits; no point: there is none.

    Looking for one point is much less work than for all, so that it is exact where `frontier` no longer is. Of equals
    the one that does better by the other measure.
    """
    problem = _Problem(criteria, right, costs, limits, y, None, weights, budget)
    total = problem.total
    wrong_limit = total if limits.most_wrong is None else min(limits.most_wrong, total)
    cost_limit = problem.units(math.inf if limits.most_cost is None else limits.most_cost)
    choose = _cheapest if minimise == "cost" else _rightest

    found = problem.search(lambda cost: choose(cost, wrong_limit, cost_limit))
    feasible = np.flatnonzero((np.arange(total + 1) <= wrong_limit) & (found.own <= cost_limit))
    order = np.lexsort((feasible, found.own[feasible]) if minimise == "cost" else (found.own[feasible], feasible))
    point = problem.points(found, feasible[order[:1]])
    may = np.flatnonzero(found.left < NONE)
    if not len(may) or not len(point.wrong):
        return point
    saved = int(found.own[point.wrong[0]] - found.left.min()) / problem.scale
    fewer = int(point.wrong[0] - may[0]) if weights is None else None
    return replace(point, largest_loss=fewer, largest_loss_cost=max(saved, 0.0))


def _cheapest(cost: Ints, most_wrong: int, most_cost: int) -> Ints:
    """What would still be better than the cheapest point found: cheaper, or as cheap and less often wrong."""
    limit = np.zeros_like(cost)
    if most_wrong >= 0:
        lowest = min(int(cost[most_wrong]), most_cost + 1)
        limit[: most_wrong + 1] = lowest
        if lowest <= most_cost:
            limit[: np.searchsorted(-cost, -lowest)] += 1
    return limit


def _rightest(cost: Ints, most_wrong: int, most_cost: int) -> Ints:
    """What would still be better than the least often wrong point found: fewer wrong, or as few and cheaper."""
    limit = np.zeros_like(cost)
    fewest = int(np.searchsorted(-cost, -most_cost))
    limit[: min(fewest, most_wrong + 1)] = most_cost + 1
    if fewest <= most_wrong:
        limit[fewest] = cost[fewest]
    return limit


class _Problem:
    """The matrices as candidates and whole units, and back."""

    def __init__(
        self,
        criteria: Floats,
        right: Bools,
        costs: Array,
        limits: Limits,
        y: Ints | None,
        kept: Bools | None,
        weights: Ints | None,
        budget: int,
    ) -> None:
        events, exits = criteria.shape
        y = np.zeros(events, np.int64) if y is None else y
        kept = right if kept is None else kept
        for name, array in (("right", right), ("costs", costs)):
            if array.shape != (events, exits + 1):
                raise BadInput(f"{name} is {array.shape}; expected {(events, exits + 1)}, one more exit than criteria")
        if np.isnan(criteria).any() or not (np.isfinite(costs) & (costs >= 0)).all():
            raise BadInput("criteria hold what is no number, or costs what is not finite or below 0")
        self._caps = limits.caps or (None,) * (exits + 1)
        self._weighted = weights is not None
        self._budget = budget
        self._values = [np.unique(column[column < 1]).astype(np.float64) for column in criteria.T]
        self.scale = 2.0 ** np.floor(np.log2(_WHOLE / max(costs.max(axis=1).sum(), 1e-200)))  # costs may all be 0
        self._bounded = bool((np.diff(costs, axis=1) >= 0).all())
        self._candidates = [
            np.append(
                self._values[x] if self._keeps_all(x) else _worth(criteria[:, x], right[:, x:], kept[:, x:]), np.inf
            )
            for x in range(exits)
        ]
        self._thinned = not self._bounded and prod(map(len, self._candidates)) > budget
        if self._thinned:
            self._candidates = [evenly(each, max(2, int(budget ** (1 / exits)))) for each in self._candidates]
        self._cells = Cells(
            places=tuple(
                np.where(column < 1, np.searchsorted(values, column, side="right"), NEVER)
                for values, column in zip(self._candidates, criteria.T.astype(np.float64), strict=True)
            ),
            sizes=tuple(map(len, self._candidates)),
            wrong=~right * (np.ones(events, np.int64) if weights is None else weights[y])[:, None],
            cost=np.rint(costs * self.scale).astype(np.int64),
            caps=self._caps,
            y=y,
            missed=~kept,
            classes=limits.classes,
        )
        self.total = self._cells.total

    def _keeps_all(self, exit: int) -> bool:
        return not self._bounded or self._caps[exit] is not None

    def units(self, cost: float) -> int:
        """A limit in whole units, with room for the rounding of every event."""
        return int(min(cost * self.scale + len(self._cells.wrong) / 2, NONE - 2))

    def search(self, ceiling: Ceiling) -> Found:
        """Look for what is below the ceiling."""
        return search(self._cells, ceiling, self._budget, whole=not self._bounded)

    def points(self, found: Found, rows: Ints) -> Frontier:
        """The points with these numbers of wrong answers, as thresholds and costs."""
        may = np.flatnonzero(found.left < NONE)
        fewest = np.searchsorted(-found.cost, -found.left[may])
        known = may[found.cost[may] < NONE]
        saved = (found.cost[known] - np.minimum.accumulate(found.left)[known]) / self.scale
        return Frontier(
            thresholds=np.stack([self._between(x, found.at[rows, x]) for x in range(len(self._values))], axis=1),
            wrong=rows,
            cost=found.own[rows] / self.scale,
            exact=not len(may) and not self._thinned,
            largest_loss=None if self._thinned or self._weighted else int((fewest - may).max(initial=0)),
            largest_loss_cost=None if self._thinned else float(saved.max(initial=0)),
            combinations=prod(len(values) + 1 for values in self._values),
            looked_at=found.boxes,
        )

    def _between(self, exit: int, picks: Ints) -> Array:
        """Thresholds that divide the events as the candidates do, with room on both sides."""
        values, short = self._values[exit], {}
        for pick in np.unique(picks).tolist():
            high = min(float(self._candidates[exit][pick]), 1.0)
            below = int(np.searchsorted(values, high))
            short[pick] = split_between(float(values[below - 1]), high) if below else 0.0
        return np.array([short[pick] for pick in picks.tolist()], np.float64)


def _worth(criterion: Floats, *right: Bools) -> Array:
    """The values just below which a threshold may stand: of events that this exit gets wrong and a later one right."""
    later = np.any([~each[:, 0] & each[:, 1:].any(axis=1) for each in right], axis=0)
    return np.unique(criterion[(criterion < 1) & later]).astype(np.float64)


def evenly(values: Array, most: int) -> Array:
    """At most `most` of the values, evenly by rank, the last among them."""
    return values[np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(np.int64))]


def split_between(low: float, high: float) -> float:
    """A short number in (low, high], near the middle: `low` is below it and `high` is not."""
    middle, slack = (low + high) / 2, (high - low) / 4
    for digits in range(2, 9):
        if abs((short := round(middle, digits)) - middle) <= slack and np.float32(short) > low:
            return short
    return high
