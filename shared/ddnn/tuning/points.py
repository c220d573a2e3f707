"""The operating points of a network to choose from: all of them with one edge, with several those that were played.

Legend: N events, K classes, m exits below the cloud that are asked, P points.
"""

import math
from itertools import product
from typing import Final, Protocol

import numpy as np

from ddnn.policy import Policy
from ddnn.tuning.frontier import Frontier, Limits, Minimise, best, evenly, frontier, split_between
from ddnn.tuning.sample import Asked, Sample
from ddnn.types import Array, Ints

__all__ = ["PLAYS", "Points", "operating_points"]

PLAYS: Final = 600  #: combinations of thresholds played through, where an event's answer depends on all edges


class Points(Protocol):
    """Where operating points come from."""

    asked: Asked
    total: int  #: wrong answers if all were wrong, each counted as often as its class says

    def best(self, limits: Limits, minimise: Minimise) -> Frontier:
        """The one best point within `limits`, or none."""

    def frontier(self) -> Frontier:
        """All points worth having."""


def operating_points(sample: Sample, policy: Policy, weights: Ints | None = None) -> Points:
    """The points of `policy`'s criterion and temperatures on a sample; `weights` (K,) as in `frontier`."""
    made = _All if len(sample.scores.topology.edges) == 1 else _Played
    return made(sample, policy, weights)


class _All:
    """One edge: an event's way depends on its own criteria alone, so that the frontier is all there is to know."""

    def __init__(self, sample: Sample, policy: Policy, weights: Ints | None) -> None:
        self.asked, self._y, self._weights = sample.asked(policy), sample.scores.y, weights
        self.total = len(sample) if weights is None else int(weights @ sample.class_events)
        self._matrices = self.asked.uncertainty, sample.right(policy), sample.costs(policy)
        self._frontier: Frontier | None = None

    def best(self, limits: Limits, minimise: Minimise) -> Frontier:
        return best(*self._matrices, limits, minimise, y=self._y, weights=self._weights)

    def frontier(self) -> Frontier:
        self._frontier = self._frontier or frontier(*self._matrices, y=self._y, weights=self._weights)
        return self._frontier


class _Played:
    """Several edges: the surest of them answers, so that each combination has to be played through.

    Played are half of them where the frontier would be if the surest edge alone decided, half evenly over all.
    """

    def __init__(self, sample: Sample, policy: Policy, weights: Ints | None) -> None:
        self.asked = asked = sample.asked(policy)
        every = [sample.judged(policy)[exit].uncertainty for exit in asked.exits]
        values = [np.unique(each[each < 1]).astype(np.float64) for each in every]
        self._combinations = math.prod(len(each) + 1 for each in values)
        rising = np.maximum.accumulate(sample.costs(policy), axis=1)  # telling others may cost more
        likely = frontier(asked.uncertainty, sample.right(policy), rising, y=sample.scores.y, weights=weights)
        per_exit = max(2, int((PLAYS / 2) ** (1 / len(values))))
        even = np.array(list(product(*(_options(each, per_exit) for each in values))))
        some = evenly(likely.thresholds, PLAYS - len(even))
        self._thresholds = np.unique(np.concatenate([some, even]), axis=0)
        played = sample.outcomes(policy, self._thresholds)
        counts = np.ones(sample.scores.classes, np.int64) if weights is None else weights
        self._missed = sample.class_events - np.array([each.hits for each in played], np.int64)  # (P, K)
        self._wrong, self.total = self._missed @ counts, int(counts @ sample.class_events)
        self._cost = np.array([each.total_cost for each in played], np.float64)
        below = np.array([[each.answers[exit] for exit in asked.exits] for each in played], np.int64)
        self._answers = np.column_stack([below, len(sample) - below.sum(axis=1)])

    def best(self, limits: Limits, minimise: Minimise) -> Frontier:
        fits = np.ones(len(self._wrong), np.bool_)
        if limits.most_wrong is not None:
            fits &= self._wrong <= limits.most_wrong
        if limits.most_cost is not None:
            fits &= self._cost <= limits.most_cost * (1 + 1e-12)
        for exit, cap in enumerate(limits.caps or ()):
            fits &= True if cap is None else self._answers[:, exit] <= cap
        for index, cap in limits.classes.items():
            fits &= self._missed[:, index] <= cap
        rows = np.flatnonzero(fits)
        keys = (self._cost[rows], self._wrong[rows])
        return self._points(rows[np.lexsort(keys[::-1] if minimise == "cost" else keys)][:1])

    def frontier(self) -> Frontier:
        order = np.lexsort((self._wrong, self._cost))
        fewest = np.minimum.accumulate(np.concatenate([[np.iinfo(np.int64).max], self._wrong[order]]))
        return self._points(order[self._wrong[order] < fewest[:-1]])

    def _points(self, rows: Ints) -> Frontier:
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
