"""The operating points of a network to choose from: all of them with one edge, a part of them with several.

Legend: N events, m exits below the cloud that are asked, P points.
"""

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Final, Literal, Protocol

import numpy as np

from ddnn.evaluation import Scores, decide, judge
from ddnn.policy import Policy
from ddnn.tuning.asked import Asked, ask
from ddnn.tuning.cost import Price, costs, spent
from ddnn.tuning.frontier import Frontier, best, frontier, split_between
from ddnn.types import Array, Ints

__all__ = ["PLAYS", "Limits", "Points", "operating_points"]

PLAYS: Final = 600
"""Combinations of thresholds played through, where an event's answer depends on all edges."""
Minimise = Literal["cost", "wrong"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a point must keep to."""

    most_wrong: int | None
    most_cost: float | None
    """Summed over the events."""
    caps: tuple[int | None, ...]
    """(m + 1,) events that each exit may answer."""


class Points(Protocol):
    """Where operating points come from."""

    asked: Asked

    def best(self, limits: Limits, minimise: Minimise) -> Frontier:
        """The one best point within `limits`, or none."""

    def frontier(self) -> Frontier:
        """All points worth having."""


def operating_points(scores: Scores, policy: Policy, price: Price) -> Points:
    """The points of `policy`'s criterion and temperatures on `scores`."""
    if len(scores.topology.edges) == 1:
        return _All(scores, policy, price)
    return _Played(scores, policy, price)


class _All:
    """One edge: an event's way depends on its own criteria alone, so that the frontier is all there is to know."""

    def __init__(self, scores: Scores, policy: Policy, price: Price) -> None:
        self.asked = ask(scores, policy)
        self._right = scores.right(self.asked.labels)
        self._costs = costs(scores, policy.offload, price)

    def best(self, limits: Limits, minimise: Minimise) -> Frontier:
        return best(
            self.asked.uncertainty,
            self._right,
            self._costs,
            most_wrong=limits.most_wrong,
            most_cost=limits.most_cost,
            minimise=minimise,
            caps=limits.caps,
        )

    def frontier(self) -> Frontier:
        return frontier(self.asked.uncertainty, self._right, self._costs)


class _Played:
    """Several edges: the surest of them answers, so that each combination has to be played through.

    Played are half of them where the frontier would be if the surest edge alone decided, half evenly over all.
    """

    def __init__(self, scores: Scores, policy: Policy, price: Price) -> None:
        self.asked = asked = ask(scores, policy)
        right, every = scores.right(asked.labels), [judge(scores, policy, exit)[1] for exit in asked.exits]
        values = [np.unique(each[each < 1]).astype(np.float64) for each in every]
        self._combinations = prod(len(each) + 1 for each in values)
        rising = np.maximum.accumulate(costs(scores, policy.offload, price), axis=1)  # telling others may cost more
        likely = frontier(asked.uncertainty, right, rising).thresholds
        per_exit = max(2, int((PLAYS / 2) ** (1 / len(values))))
        even = np.array(list(product(*(_options(each, per_exit) for each in values))))
        self._thresholds = np.unique(np.concatenate([_thinned(likely, PLAYS - len(even)), even]), axis=0)
        played = [self._play(scores, policy, price, row) for row in self._thresholds]
        self._wrong = np.array([wrong for wrong, _, _ in played], np.int64)
        self._cost = np.array([cost for _, cost, _ in played], np.float64)
        self._answers = np.array([answers for _, _, answers in played], np.int64)

    def _play(self, scores: Scores, policy: Policy, price: Price, row: Array) -> tuple[int, float, list[int]]:
        decisions = decide(scores, policy.model_copy(update={"thresholds": self.asked.thresholds(row)}))
        answers = [int((decisions.exit == exit.rank).sum()) for exit in self.asked.exits]
        cost = float(spent(scores, decisions, policy.offload, price).sum())
        return int((decisions.label != scores.y).sum()), cost, [*answers, len(scores) - sum(answers)]

    def best(self, limits: Limits, minimise: Minimise) -> Frontier:
        fits = np.ones(len(self._wrong), np.bool_)
        if limits.most_wrong is not None:
            fits &= self._wrong <= limits.most_wrong
        if limits.most_cost is not None:
            fits &= self._cost <= limits.most_cost * (1 + 1e-12)
        for exit, cap in enumerate(limits.caps):
            fits &= True if cap is None else self._answers[:, exit] <= cap
        rows = np.flatnonzero(fits)
        keys = (self._cost[rows], self._wrong[rows])
        return self._told(rows[np.lexsort(keys[::-1] if minimise == "cost" else keys)][:1])

    def frontier(self) -> Frontier:
        order = np.lexsort((self._wrong, self._cost))
        fewest = np.minimum.accumulate(np.concatenate([[np.iinfo(np.int64).max], self._wrong[order]]))
        return self._told(order[self._wrong[order] < fewest[:-1]])

    def _told(self, rows: Ints) -> Frontier:
        return Frontier(
            thresholds=self._thresholds[rows],
            wrong=self._wrong[rows],
            cost=self._cost[rows],
            exact=False,
            largest_loss=None,
            largest_loss_cost=None,
            combinations=self._combinations,
            looked_at=len(self._thresholds),
        )


def _options(values: Array, most: int) -> list[float]:
    """At most `most` thresholds between `values`, evenly by rank, from off to the top."""
    edges = [*values.tolist(), 1.0]
    places = np.unique(np.linspace(0, len(values), most).round().astype(np.int64)).tolist()
    return [split_between(edges[place - 1], edges[place]) if place else 0.0 for place in places]


def _thinned(rows: Array, most: int) -> Array:
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(np.int64))]
