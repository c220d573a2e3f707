"""What the exits that are asked in turn say of every event, as matrices that a search can run over.

Legend: N events, m exits below the cloud that are asked, in order.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from ddnn.errors import BadData, BadInput
from ddnn.evaluation import NOBODY, Scores, judge
from ddnn.evaluation.recorded import check
from ddnn.exits import answers
from ddnn.policy import Policy, Thresholds
from ddnn.types import Array, Bools, Exit, Floats, Ints

__all__ = ["FEWEST_EVENTS", "Asked", "ask", "enough"]

FEWEST_EVENTS: Final = 50
"""Below this many events a threshold is luck."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The exits asked for every event; of several edges the surest speaks."""

    exits: tuple[Exit, ...]
    """(m,), without the cloud. In a group the device exit is off; a lone device is its own local exit."""
    uncertainty: Floats
    """(N, m)."""
    labels: Ints
    """(N, m + 1), the cloud's last; `NOBODY` where no device took part."""

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

    def thresholds(self, values: Array) -> Thresholds:
        """The policy's form of one row (m,) of thresholds; an exit that is not asked is off."""
        off = {exit.value: 0.0 for exit in Exit if exit is not Exit.CLOUD}
        return Thresholds(**off | {exit.value: float(v) for exit, v in zip(self.exits, values, strict=True)})


def ask(scores: Scores, policy: Policy) -> Asked:
    """What each exit says under the policy's criterion and temperatures."""
    alone = scores.present.shape[1] == 1
    there = [Exit.DEVICE if alone else Exit.LOCAL, Exit.EDGE]
    exits = tuple(exit for exit in there if exit in scores.topology.exits)
    rows, seen = np.arange(len(scores)), scores.there(Exit.CLOUD)
    unsure, labels = np.empty((len(scores), len(exits)), np.float32), np.empty((len(scores), len(exits) + 1), np.int64)
    for place, exit in enumerate(exits):
        judged = judge(scores, policy, exit)
        surest = judged.uncertainty.argmin(axis=1)
        unsure[:, place], labels[:, place] = judged.uncertainty[rows, surest], judged.labels[rows, surest]
    labels[:, -1] = scores.labels(Exit.CLOUD)
    return Asked(exits, unsure, np.where(seen[:, None], labels, NOBODY))


def enough(scores: Scores, *, labelled: bool = True) -> None:
    """Raise `BadData` or `BadInput`, saying what is missing, unless thresholds can be chosen on `scores`."""
    check(scores)
    if Exit.LOCAL not in scores.topology.exits:
        raise BadInput("this network has no exit below the cloud; there is no threshold to tune")
    if len(scores) < FEWEST_EVENTS:
        raise BadData(f"there are {len(scores)} events to tune on; expected at least {FEWEST_EVENTS}")
    if labelled and len(np.unique(scores.y)) < 2:
        raise BadData(f"all {len(scores)} events to tune on are of class {scores.y[0]}; expected at least two classes")
