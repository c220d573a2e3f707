"""What tuning knows of the events of one split: what exits say of them and what they cost, each found once.

Legend: N events, m exits below the cloud that are asked, in order; P rows of thresholds.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeVar, cast

import numpy as np

from ddnn.errors import BadData, BadInput
from ddnn.evaluation import NOBODY, Decisions, Scores, decide, judge
from ddnn.evaluation.classes import balanced, by_class
from ddnn.evaluation.decide import judge_all
from ddnn.evaluation.recorded import check
from ddnn.exits import Judged, answers
from ddnn.policy import Policy, Thresholds
from ddnn.tuning.cost import CostModel, exits_asked
from ddnn.types import Array, Bools, Exit, Floats, Ints

__all__ = ["FEWEST_EVENTS", "Asked", "Outcome", "Sample", "ask"]

FEWEST_EVENTS: Final = 50  #: below this many events a threshold is luck
_KEPT: Final = 2  #: policies of which a sample remembers what it found
_ROWS: Final = 20  #: thresholds that events are held against at once
_WEIGHT: Final = 100  #: of a wrong answer to the largest class, where classes count alike; others are to its precision
_MOST_WEIGHT: Final = 400_000  #: of all wrong answers together: so long are the arrays of a search
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the exits that are asked in turn say of every event, as matrices; of several edges the surest speaks."""

    exits: tuple[Exit, ...]
    """(m,), without the cloud. In a group the device exit is off; a lone device is its own local exit."""
    uncertainty: Floats  #: (N, m)
    labels: Ints  #: (N, m + 1), the cloud's last; `NOBODY` where no device took part

    def losses(self, y: Ints | None) -> Bools:
        """(N, m + 1): the cloud is right and this answer wrong; without `y`, this answer is not the cloud's."""
        cloud = self.labels[:, -1:]
        differs = self.labels != cloud
        return np.asarray(differs if y is None else differs & (cloud == y[:, None]))

    def reached(self, thresholds: Array) -> Ints:
        """(P, N): which of the m + 1 answers, under each row of `thresholds` (P, m)."""
        found = np.full((len(thresholds), len(self.labels)), len(self.exits), np.int64)
        for place in reversed(range(len(self.exits))):
            found[answers(self.uncertainty[None, :, place], thresholds[:, None, place])] = place
        return found

    def above(self, exit: str) -> list[str]:
        """The exits above one of them, the cloud's last."""
        every = [*(each.value for each in self.exits), Exit.CLOUD.value]
        return every[every.index(exit) + 1 :]

    def take(self, rows: Ints) -> "Asked":
        """The events at `rows`."""
        return Asked(self.exits, self.uncertainty[rows], self.labels[rows])

    def thresholds(self, values: Array) -> Thresholds:
        """The policy's form of one row (m,) of thresholds; an exit that is not asked is off."""
        off = {exit.value: 0.0 for exit in Exit if exit is not Exit.CLOUD}
        return Thresholds(**off | {exit.value: float(v) for exit, v in zip(self.exits, values, strict=True)})


def ask(scores: Scores, policy: Policy, judged: Mapping[Exit, Judged] | None = None) -> Asked:
    """What each exit says under the policy's criterion and temperatures; `judged` is what they say, if it is known."""
    exits, rows, seen = exits_asked(scores.topology)[:-1], np.arange(len(scores)), scores.there(Exit.CLOUD)
    unsure, labels = np.empty((len(scores), len(exits)), np.float32), np.empty((len(scores), len(exits) + 1), np.int64)
    for place, exit in enumerate(exits):
        said = judged[exit] if judged else judge(scores, policy, exit)
        surest = rows, said.uncertainty.argmin(axis=1)
        unsure[:, place], labels[:, place] = said.uncertainty[surest], said.labels[surest]
    labels[:, -1] = scores.labels(Exit.CLOUD)
    return Asked(exits, unsure, np.where(seen[:, None], labels, NOBODY))


class Outcome(NamedTuple):
    """What a policy does on events."""

    events: int
    hits: tuple[int, ...]  #: (K,) events of each class whose answer is right; an event without an answer is wrong
    total_cost: float
    answers: dict[Exit, int]  #: events answered at each exit

    @property
    def right(self) -> int:
        """Events whose answer is right."""
        return sum(self.hits)

    @property
    def accuracy(self) -> float:
        """Share of the events."""
        return self.right / self.events

    @property
    def cost(self) -> float:
        """Mean of an event."""
        return self.total_cost / self.events

    def share(self, exit: Exit) -> float:
        """Of all events, those answered at `exit`."""
        return self.answers.get(exit, 0) / self.events

    def document(self) -> dict[str, Any]:
        """As JSON."""
        shares = {exit.value: self.share(exit) for exit in self.answers}
        return {"accuracy": self.accuracy, "cost": self.cost, "exit_share": shares}


class Sample:
    """The scores of one split, and what events cost under one model."""

    def __init__(self, scores: Scores, cost: CostModel | None = None, names: Sequence[str] = ()) -> None:
        """By default an event costs its payload bytes, and classes are called by their numbers."""
        self.scores, self.cost = scores, cost or CostModel()
        self.names = tuple(names) or tuple(map(str, range(scores.classes)))
        self._found: dict[str, dict[Hashable, Any]] = {}

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: Ints) -> "Sample":
        """The events at `rows`, in that order."""
        return Sample(self.scores.take(rows), self.cost, self.names)

    def check(self, *, labelled: bool = True) -> None:
        """Raise `BadData` or `BadInput`, saying what is missing, unless thresholds can be chosen on the events."""
        check(self.scores)
        if Exit.LOCAL not in self.scores.topology.exits:
            raise BadInput("this network has no exit below the cloud; there is no threshold to tune")
        if len(self) < FEWEST_EVENTS:
            raise BadData(
                f"there are {len(self)} events to tune on; expected at least {FEWEST_EVENTS}. Of so few, training"
                " makes the policy, where it looks for a recipe on folds of all that are not tested: give `ddnn train`"
                " the objective, --max-accuracy-drop or --min-recall"
            )
        if labelled and len(np.unique(self.scores.y)) < 2:
            raise BadData(
                f"all {len(self)} events to tune on are of class {self.scores.y[0]}; expected at least two classes"
            )

    def judged(self, policy: Policy) -> dict[Exit, Judged]:
        """What every exit says, whatever the thresholds."""
        return self._once("judged", _judging(policy), lambda: judge_all(self.scores, policy))

    def asked(self, policy: Policy) -> Asked:
        """The same of the exits asked in turn."""
        return self._once("asked", _judging(policy), lambda: ask(self.scores, policy, self.judged(policy)))

    def right(self, policy: Policy) -> Bools:
        """(N, m + 1), whether each of the exits asked is right."""
        return self.scores.right(self.asked(policy).labels)

    def costs(self, policy: Policy) -> Array:
        """(N, m + 1) what each event costs if answered at each of the exits asked."""
        return self._once("costs", policy.offload, lambda: self.cost.at_exits(self.scores, policy.offload))

    def decisions(self, policy: Policy) -> Decisions:
        """Every event's answer."""
        limits = policy.thresholds, tuple((count, each.thresholds) for count, each in policy.live.items())
        key = _judging(policy), limits
        return self._once("decisions", key, lambda: decide(self.scores, policy, self.judged(policy)))

    def outcome(self, policy: Policy) -> Outcome:
        """What the policy does."""
        decisions = self.decisions(policy)
        hits = self._hits(decisions.label == self.scores.y)
        cost = float(self.cost.spent(self.scores, decisions, policy.offload).sum())
        answers = {exit: int((decisions.exit == exit.rank).sum()) for exit in self.scores.topology.exits}
        return Outcome(len(self), hits, cost, answers)

    def outcomes(self, policy: Policy, rows: Array) -> list[Outcome]:
        """The same under each row (P, m) of thresholds of the exits asked; with one edge all of them at once."""
        asked = self.asked(policy)
        if len(self.scores.topology.edges) > 1:
            # A copy is not validated: a threshold above every criterion is none that a person writes.
            off = Thresholds(device=0.0, local=0.0, edge=0.0)
            limits = (off.model_copy(update=dict(zip(asked.exits, row.tolist(), strict=True))) for row in rows)
            return [self.outcome(policy.at(each)) for each in limits]
        right, costs, exits = self.right(policy), self.costs(policy), (*asked.exits, Exit.CLOUD)
        events, seen, found = np.arange(len(self)), self.scores.there(Exit.CLOUD), list[Outcome]()
        for start in range(0, len(rows), _ROWS):
            for reached in asked.reached(rows[start : start + _ROWS]):
                answers = np.bincount(reached[seen], minlength=len(exits)).tolist()
                hits, cost = self._hits(right[events, reached]), float(costs[events, reached].sum())
                found.append(Outcome(len(self), hits, cost, dict(zip(exits, answers, strict=True))))
        return found

    def figures(self, outcome: Outcome) -> dict[str, Any]:
        """An outcome as JSON: events, overall and cloud accuracy, share of events per exit, mean cost."""
        exits, cost = self.scores.topology.exits, self.cost
        return {
            "events": len(self),
            "accuracy": outcome.accuracy,
            "cloud_accuracy": float(self.cloud_right.mean()),
            "exit_share": {exit.value: outcome.share(exit) if exit in exits else None for exit in Exit},
            "cost": {"kind": cost.kind, "unit": cost.unit, "over": cost.over, "mean": outcome.cost},
        }

    def alone(self, policy: Policy) -> dict[Exit, Outcome]:
        """What there is if each of the exits asked, the cloud's last, answers all that it can."""
        exits = self.asked(policy).exits
        outcomes = self.outcomes(policy, np.vstack([np.eye(len(exits)), np.zeros(len(exits))]))
        return dict(zip((*exits, Exit.CLOUD), outcomes, strict=True))

    def best_exit(self, policy: Policy, weights: Ints | None = None) -> dict[str, Any]:
        """The exit with most right if it answers all, the lowest of equals, and its accuracies, as JSON.

        `weights` (K,) say how often an event of each class counts, by default once.
        """
        alone = self.alone(policy)
        counts = np.ones(self.scores.classes, np.int64) if weights is None else weights
        best = max(alone, key=lambda exit: int(counts @ alone[exit].hits))
        return {
            "exit": best.value,
            "accuracy": alone[best].accuracy,
            "balanced_accuracy": balanced(self.recall(alone[best])),
        }

    def recall(self, outcome: Outcome) -> list[float | None]:
        """(K,) recall of each class; None where there is no event of it."""
        pairs = zip(outcome.hits, self.class_events.tolist(), strict=True)
        return [hits / events if events else None for hits, events in pairs]

    def by_class(self, policy: Policy) -> dict[str, Any]:
        """What the policy and each exit do to each class, as `ddnn.evaluation` has it."""
        return by_class(self.scores, self.decisions(policy), self.names)

    @cached_property
    def class_events(self) -> Ints:
        """(K,) events of each class."""
        return np.bincount(self.scores.y, minlength=self.scores.classes)

    @cached_property
    def class_weights(self) -> Ints:
        """(K,) whole numbers: how often an event counts where all classes count alike, to a hundredth or so."""
        events = self.class_events
        unit = np.clip(_MOST_WEIGHT / (len(events) * events.max()), 1, _WEIGHT)
        return np.asarray(np.rint(unit * events.max() / np.maximum(events, 1)), np.int64)

    @cached_property
    def cloud_right(self) -> Bools:
        """(N,): an event that nobody saw has no answer, so no right one."""
        return np.asarray(self.scores.there(Exit.CLOUD) & self.scores.right(self.scores.labels(Exit.CLOUD)))

    @cached_property
    def cloud_labels(self) -> Ints:
        """(N,) what the cloud says of every event, `NOBODY` where no device took part."""
        return np.where(self.scores.there(Exit.CLOUD), self.scores.labels(Exit.CLOUD), NOBODY)

    def _hits(self, right: Bools) -> tuple[int, ...]:
        return tuple(np.bincount(self.scores.y[right], minlength=self.scores.classes).tolist())

    def _once(self, what: str, key: Hashable, find: Callable[[], T]) -> T:
        """What was found before under `key`, or is found now."""
        found = self._found.setdefault(what, {})
        if key not in found:
            if len(found) >= _KEPT:
                del found[next(iter(found))]
            found[key] = find()
        return cast(T, found[key])


def _judging(policy: Policy) -> Hashable:
    """All of a policy that what exits say depends on."""
    live = tuple((count, each.temperatures) for count, each in policy.live.items())
    return policy.criterion, policy.temperatures, live
