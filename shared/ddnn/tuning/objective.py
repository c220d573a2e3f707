"""What a person wants of thresholds: the lowest cost, or the best accuracy, within limits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from ddnn.errors import BadInput
from ddnn.policy import Policy
from ddnn.tuning.cost import exits_asked
from ddnn.tuning.frontier import Limits, Minimise
from ddnn.tuning.recall import MinRecall, check_recall, misses, recalls, wanted
from ddnn.tuning.sample import Asked, Sample
from ddnn.types import Exit, Ints

__all__ = ["DROP", "Objective", "below", "parse_shares"]

DROP: Final = 0.005  #: how far accuracy may lie below the best exit's when nothing else is asked for


@dataclass(frozen=True, slots=True)
class Objective:
    """The lowest cost at enough accuracy; with a budget, the best accuracy within it."""

    max_accuracy_drop: float | None = DROP
    """How far the overall accuracy may lie below the best exit's; None: as far as it likes."""
    max_cost: float | None = None  #: mean cost of an event, in the unit of the cost model
    max_share: Mapping[Exit, float] = field(default_factory=dict)  #: of all events, the most that an exit may answer
    min_recall: MinRecall = field(default_factory=dict)  #: what of a class must be answered right
    balanced: bool = False  #: accuracy is balanced accuracy, the mean recall of the classes

    def __post_init__(self) -> None:
        drop, cost = self.max_accuracy_drop, self.max_cost
        if drop is None and cost is None:
            raise BadInput("neither max_accuracy_drop nor max_cost is given; expected a limit to choose thresholds by")
        if drop is not None and not 0 <= drop <= 1:  # false of what is not a number, too
            raise BadInput(f"max_accuracy_drop is {drop}; expected a share from 0, the best exit's own accuracy, to 1")
        if cost is not None and not (math.isfinite(cost) and cost >= 0):
            raise BadInput(f"max_cost is {cost}; expected a number from 0 up")
        for exit, share in self.max_share.items():
            if not 0 <= share <= 1:
                raise BadInput(f"max_share of {exit} is {share}; expected a share from 0 to 1")
        check_recall(self.min_recall)

    @property
    def minimise(self) -> Minimise:
        """What is to be small."""
        return "cost" if self.max_cost is None else "wrong"

    def weights(self, sample: Sample) -> Ints | None:
        """(K,) how often a wrong answer to each class counts; None: once."""
        return sample.class_weights if self.balanced else None

    def recalls(self, sample: Sample) -> dict[int, float]:
        """The least recall by class; raise `BadInput` for a class without events."""
        return recalls(self.min_recall, sample.scores.y, sample.names)

    def limits(self, sample: Sample, policy: Policy) -> Limits:
        """The same in events and in cost summed over these, exits being judged as in `policy`.

        Raises `BadInput` for an exit that is not asked, and for a class without events.
        """
        events, drop, weights = len(sample), self.max_accuracy_drop, self.weights(sample)
        counts = np.ones(sample.scores.classes, np.int64) if weights is None else weights
        total = int(counts @ sample.class_events)
        right = max(int(counts @ outcome.hits) for outcome in sample.alone(policy).values())
        return Limits(
            most_wrong=None if drop is None else total - math.ceil(right - drop * total - 1e-9),
            most_cost=None if self.max_cost is None else self.max_cost * events,
            caps=self._caps(exits_asked(sample.scores.topology), events),
            classes=self.misses(sample),
        )

    def misses(self, sample: Sample) -> dict[int, int]:
        """How many events of a class may be answered wrong, where there is a limit."""
        return misses(self.recalls(sample), sample.class_events)

    def _caps(self, exits: Sequence[Exit], events: int) -> tuple[int | None, ...]:
        """How many of `events` each of `exits`, the cloud's last, may answer."""
        for exit in self.max_share:
            if exit not in exits:
                raise BadInput(f"max_share names the {exit} exit; the exits that are asked are {', '.join(exits)}")
        shares = (self.max_share.get(exit) for exit in exits)
        return tuple(None if share is None else math.floor(share * events + 1e-9) for share in shares)

    def document(self, sample: Sample) -> dict[str, Any]:
        """As JSON, for reports and the policy's `tuned`."""
        return {
            "minimise": "cost" if self.minimise == "cost" else "wrong answers",
            "max_accuracy_drop": self.max_accuracy_drop,
            "max_cost": self.max_cost,
            "max_share": {exit.value: share for exit, share in self.max_share.items()},
            "min_recall": {sample.names[index]: share for index, share in self.recalls(sample).items()},
            "balanced": self.balanced,
        }

    def sentence(self, sample: Sample) -> str:
        """For people."""
        accuracy = "balanced accuracy" if self.balanced else "accuracy"
        aim = "The lowest cost" if self.minimise == "cost" else f"The best {accuracy}"
        limits = []
        if self.max_cost is not None:
            limits.append(f"at a cost of at most {sample.cost.text(self.max_cost)} an event")
        if self.max_accuracy_drop is not None:
            limits.append(
                f"with an overall {accuracy} at most {100 * self.max_accuracy_drop:.4g} points below the best exit's"
            )
        limits += [f"with at most {100 * share:.4g} % answered at {exit}" for exit, share in self.max_share.items()]
        limits += [f"with {least}" for least in wanted(self.min_recall, sample.names)]
        return f"{aim} {', '.join(limits)}."


def below(limits: Limits, asked: Asked, best: str) -> Limits:
    """`limits` with no answers above the exit `best`, but to events that it cannot answer."""
    exits = (*asked.exits, Exit.CLOUD)
    place = exits.index(Exit(best))
    if place == len(asked.exits):
        return limits
    left = int((asked.uncertainty[:, place] >= 1).sum())
    caps = limits.caps or (None,) * len(exits)
    closed = (left if cap is None else min(cap, left) for cap in caps[place + 1 :])
    return replace(limits, caps=(*caps[: place + 1], *closed))


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
