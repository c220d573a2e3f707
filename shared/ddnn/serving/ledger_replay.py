"""What recorded decisions would have been under another policy.

Legend: N decisions, n devices below, K classes. An event that comes to an exit whose scores of it are not known is
estimated by those events of which they are: as large a share of it is answered there, as surely as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ddnn.bundle import Topology
from ddnn.exits import NOBODY, answers, judge_under, thresholds_under
from ddnn.policy import Policy
from ddnn.serving.ledger import Decision
from ddnn.traffic import Offload, crossings
from ddnn.types import Bools, Exit, Floats, Ints

__all__ = ["Outcome", "replay"]

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy does with recorded events."""

    events: int
    estimated: int
    """Of those, how many came to an exit whose scores are not known."""
    share: dict[Exit, float]
    """Answered at each exit."""
    bytes: float
    """Payload an event, from the devices of this tier up to the cloud."""
    accuracy: float | None
    """Mean probability of the label at the exit that answers; none where nothing is known of such an exit."""


class _Walk:
    """How much of each event is left, and what has become of the rest."""

    def __init__(self, events: int) -> None:
        self.left: Doubles = np.ones(events)
        self.right: Doubles = np.zeros(events)
        self.estimated: Bools = np.zeros(events, np.bool_)
        self.answered: dict[Exit, Doubles] = {}
        self.blind = False

    def answer(self, exit: Exit, weight: Doubles, known: Bools, chance: Floats) -> None:
        """Let `exit` answer `weight` of each event, right by `chance`, or by the mean where it is not known."""
        usual = chance[known & (weight > 0)]
        self.blind |= not usual.size and bool((weight > 0).any())
        self.right += weight * np.where(known, chance, usual.mean() if usual.size else 0.0)
        self.estimated |= (weight > 0) & ~known
        self.left = self.left - weight
        self.answered[exit] = weight


def replay(
    decisions: Sequence[Decision], policy: Policy, topology: Topology, exits: Sequence[Exit], edge: int = 0
) -> Outcome:
    """Decide again at `exits`, whose scores this tier sees; what goes on is answered where it was, or by the cloud.

    `edge` is the number of the edge that decided, or of the one above the device that did.
    """
    live = np.array([decision.live for decision in decisions], np.int64)
    here = np.stack([decision.here for decision in decisions])
    walk = _Walk(len(decisions))
    for exit in exits:
        threshold = thresholds_under(policy, exit, live)
        known, unsure, chance = _judge(exit, decisions, policy, live, here)
        sure, reached = known & answers(unsure, threshold), walk.left > 0
        usually = float(sure[known & reached].mean()) if (known & reached).any() else 0.0
        guessed = reached & ~known & (threshold > 0)
        walk.estimated |= guessed
        walk.answer(exit, walk.left * np.where(guessed, usually, sure), known, chance)
    above = [exit for exit in topology.exits if exit not in exits]
    went = np.array([decision.exit.rank if decision.exit in above else Exit.CLOUD.rank for decision in decisions])
    for exit in above:
        known, _, chance = _judge(exit, decisions, policy, live, here)
        walk.answer(exit, walk.left * (went == exit.rank), known, chance)
    classes = decisions[0].classes
    payload = sum(
        weight * _payload(exit, live, classes, topology, edge, policy.offload) for exit, weight in walk.answered.items()
    )
    return Outcome(
        len(decisions),
        int(walk.estimated.sum()),
        {exit: float(weight.mean()) for exit, weight in walk.answered.items()},
        float(np.mean(payload)),
        None if walk.blind else float(walk.right.mean()),
    )


def _judge(
    exit: Exit, decisions: Sequence[Decision], policy: Policy, live: Ints, here: Bools
) -> tuple[Bools, Floats, Floats]:
    """Whether an exit's scores are known, how unsure it is and how probable its label, (N,) each."""
    if exit is Exit.DEVICE and here.shape[1]:
        each = judge_under(policy, exit, np.stack([decision.devices for decision in decisions]), here.astype(np.int64))
        rows, surest = np.arange(len(live)), each.uncertainty.argmin(axis=1)
        return (
            np.asarray(here.any(axis=1)),
            each.uncertainty[rows, surest],
            each.probabilities[rows, surest].max(axis=-1),
        )
    nothing = np.zeros(decisions[0].classes, np.float32)
    known = np.array([exit in decision.judged for decision in decisions])
    scores = np.stack([decision.judged.get(exit, nothing) for decision in decisions])
    votes = None
    if exit in (Exit.LOCAL, Exit.EDGE) and here.any():
        votes = np.stack([decision.devices for decision in decisions]), here
    p, unsure, _ = judge_under(policy, exit, scores, live, votes)
    return known, unsure, p.max(axis=-1)


def _payload(exit: Exit, live: Ints, classes: int, topology: Topology, edge: int, offload: Offload) -> Ints:
    """Payload bytes (N,) of events of one edge that are answered at `exit`; of sure devices one is sure."""
    below = topology.edges[edge].devices
    present = np.zeros((len(live), len(topology.devices)), np.bool_)
    present[:, below] = np.arange(len(below)) < live[:, np.newaxis]
    sure, settled = np.zeros_like(present), np.full((len(live), len(topology.edges)), NOBODY)
    sure[:, below[0]] = exit is Exit.DEVICE
    settled[:, edge] = NOBODY if exit is Exit.CLOUD else exit.rank
    devices, cloud = crossings(topology, classes, present, sure, settled, offload)
    return devices.payload + cloud.payload
