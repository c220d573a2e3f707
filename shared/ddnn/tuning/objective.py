"""What a person wants of thresholds, and the operating points of a network to choose from.

All points with one edge; with several a part of them, which are played through.
Legend: N events, m exits below the cloud that are asked, P points.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final, Protocol

import numpy as np

from ddnn.errors import BadInput
from ddnn.policy import Policy
from ddnn.tuning.cost import CostModel, exits_asked
from ddnn.tuning.frontier import Frontier, Limits, Minimise, best, evenly, frontier, split_between
from ddnn.tuning.sample import Asked, Sample
from ddnn.types import Array, Exit, Ints

__all__ = ["DROP", "PLAYS", "Objective", "Points", "operating_points", "parse_shares"]

PLAYS: Final = 600  #: combinations of thresholds played through, where an event's answer depends on all edges
DROP: Final = 0.005  #: how far accuracy may lie below the best exit's when nothing else is asked for


@dataclass(frozen=True, slots=True)
class Objective:
    """The lowest cost at enough accuracy; with a budget, the best accuracy within it."""

    max_accuracy_drop: float | None = DROP
    """How far the overall accuracy may lie below the best exit's; None: as far as it likes."""
    max_cost: float | None = None  #: mean cost of an event, in the unit of the cost model
    max_share: Mapping[Exit, float] = field(default_factory=dict)  #: of all events, the most that an exit may answer

    def __post_init__(self) -> None:
        drop, cost = self.max_accuracy_drop, self.max_cost
        if drop is None and cost is None:
            raise BadInput("neither max_accuracy_drop nor max_cost is given; expected a limit to choose thresholds by")
        if drop is not None and not (math.isfinite(drop) and -1 <= drop <= 1):
            raise BadInput(f"max_accuracy_drop is {drop}; expected a number from -1 to 1")
        if cost is not None and not (math.isfinite(cost) and cost >= 0):
            raise BadInput(f"max_cost is {cost}; expected a number from 0 up")
        for exit, share in self.max_share.items():
            if not 0 <= share <= 1:
                raise BadInput(f"max_share of {exit} is {share}; expected a share from 0 to 1")

    @property
    def minimise(self) -> Minimise:
        """What is to be small."""
        return "cost" if self.max_cost is None else "wrong"

    def limits(self, sample: Sample, policy: Policy) -> Limits:
        """The same in events and in cost summed over these, exits being judged as in `policy`.

        Raises `BadInput` for an exit that is not asked.
        """
        events, drop, right = len(sample), self.max_accuracy_drop, max(sample.alone(policy).values())
        return Limits(
            most_wrong=None if drop is None else events - math.ceil(right - drop * events - 1e-9),
            most_cost=None if self.max_cost is None else self.max_cost * events,
            caps=self._caps(exits_asked(sample.scores.topology), events),
        )

    def _caps(self, exits: Sequence[Exit], events: int) -> tuple[int | None, ...]:
        """How many of `events` each of `exits`, the cloud's last, may answer."""
        for exit in self.max_share:
            if exit not in exits:
                raise BadInput(f"max_share names the {exit} exit; the exits that are asked are {', '.join(exits)}")
        shares = (self.max_share.get(exit) for exit in exits)
        return tuple(None if share is None else math.floor(share * events + 1e-9) for share in shares)

    def document(self) -> dict[str, Any]:
        """As JSON, for reports and the policy's `tuned`."""
        return {
            "minimise": "cost" if self.minimise == "cost" else "wrong answers",
            "max_accuracy_drop": self.max_accuracy_drop,
            "max_cost": self.max_cost,
            "max_share": {exit.value: share for exit, share in self.max_share.items()},
        }

    def sentence(self, cost: CostModel) -> str:
        """For people."""
        aim = "The lowest cost" if self.minimise == "cost" else "The best accuracy"
        limits = []
        if self.max_cost is not None:
            limits.append(f"at a cost of at most {cost.text(self.max_cost)} an event")
        if self.max_accuracy_drop is not None:
            limits.append(
                f"with an overall accuracy at most {100 * self.max_accuracy_drop:.4g} points below the best exit's"
            )
        limits += [f"with at most {100 * share:.4g} % answered at {exit}" for exit, share in self.max_share.items()]
        return f"{aim} {', '.join(limits)}."


def parse_shares(given: Sequence[str]) -> dict[Exit, float]:
    """Caps out of `cloud=0.1`; raise `BadInput` for what is none."""
    found: dict[Exit, float] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            exit, share = Exit(name.strip()), float(value)
        except ValueError as error:
            raise BadInput(f"max-share is {text!r}; expected an exit and a share, like cloud=0.1") from error
        if exit in found:
            raise BadInput(f"max-share of {exit} is given twice; expected each exit once")
        found[exit] = share
    return found


class Points(Protocol):
    """Where operating points come from."""

    asked: Asked

    def best(self, limits: Limits, minimise: Minimise) -> Frontier:
        """The one best point within `limits`, or none."""

    def frontier(self) -> Frontier:
        """All points worth having."""


def operating_points(sample: Sample, policy: Policy) -> Points:
    """The points of `policy`'s criterion and temperatures on a sample."""
    return _All(sample, policy) if len(sample.scores.topology.edges) == 1 else _Played(sample, policy)


class _All:
    """One edge: an event's way depends on its own criteria alone, so that the frontier is all there is to know."""

    def __init__(self, sample: Sample, policy: Policy) -> None:
        self.asked = sample.asked(policy)
        self._matrices = self.asked.uncertainty, sample.right(policy), sample.costs(policy)
        self._frontier: Frontier | None = None

    def best(self, limits: Limits, minimise: Minimise) -> Frontier:
        return best(*self._matrices, limits, minimise)

    def frontier(self) -> Frontier:
        self._frontier = self._frontier or frontier(*self._matrices)
        return self._frontier


class _Played:
    """Several edges: the surest of them answers, so that each combination has to be played through.

    Played are half of them where the frontier would be if the surest edge alone decided, half evenly over all.
    """

    def __init__(self, sample: Sample, policy: Policy) -> None:
        self.asked = asked = sample.asked(policy)
        every = [sample.judged(policy)[exit].uncertainty for exit in asked.exits]
        values = [np.unique(each[each < 1]).astype(np.float64) for each in every]
        self._combinations = math.prod(len(each) + 1 for each in values)
        rising = np.maximum.accumulate(sample.costs(policy), axis=1)  # telling others may cost more
        likely = frontier(asked.uncertainty, sample.right(policy), rising).thresholds
        per_exit = max(2, int((PLAYS / 2) ** (1 / len(values))))
        even = np.array(list(product(*(_options(each, per_exit) for each in values))))
        self._thresholds = np.unique(np.concatenate([evenly(likely, PLAYS - len(even)), even]), axis=0)
        played = sample.outcomes(policy, self._thresholds)
        self._wrong = np.array([each.events - each.right for each in played], np.int64)
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
