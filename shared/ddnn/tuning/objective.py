"""What a person wants of thresholds: as cheap as can be, or as right as can be, within limits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ddnn.errors import BadInput
from ddnn.tuning.cost import CostModel
from ddnn.types import Exit

__all__ = ["DROP", "Objective", "parse_shares"]

DROP: Final = 0.005
"""How far accuracy may lie below the cloud's when nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Objective:
    """The lowest cost at enough accuracy; with a budget, the best accuracy within it."""

    max_accuracy_drop: float | None = DROP
    """How far the overall accuracy may lie below the cloud exit's; None: as far as it likes."""
    max_cost: float | None = None
    """Mean cost of an event, in the unit of the cost model."""
    max_share: Mapping[Exit, float] = field(default_factory=dict)
    """Of all events, the most that an exit may answer."""

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
    def minimise(self) -> Literal["cost", "wrong"]:
        """What is to be small."""
        return "cost" if self.max_cost is None else "wrong"

    def caps(self, exits: Sequence[Exit], events: int) -> tuple[int | None, ...]:
        """How many of `events` each of `exits`, the cloud's last, may answer; raise `BadInput` for another exit."""
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
                f"with an overall accuracy at most {100 * self.max_accuracy_drop:.4g} points below the cloud's"
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
