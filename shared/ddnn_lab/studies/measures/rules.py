"""Simpler rules than the served one: exits chosen at random, and by the truth.

Legend: N events.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ddnn.evaluation.decide import NOBODY, Decisions, exit_alone
from ddnn.evaluation.scores import Scores
from ddnn.policy import Policy
from ddnn.types import Exit, Ints

__all__ = ["OracleExit", "exit_labels", "oracle_exit", "random_offload"]


def exit_labels(scores: Scores, policy: Policy, exit: Exit) -> Ints:
    """(N,) what the fleet would say if `exit` answered every event; `NOBODY` where no device took part."""
    return exit_alone(scores, policy, exit).label


def random_offload(scores: Scores, policy: Policy, decisions: Decisions) -> float:
    """Expected accuracy if each exit answered as many events as in `decisions`, but a random set of them.

    Exact: the sum over the exits of share × accuracy on all events, as a random set is right as often as the whole.
    """
    answered = decisions.exit != NOBODY
    if not answered.any():
        return 0.0
    return sum(
        decisions.share(exit) * float((exit_labels(scores, policy, exit) == scores.y)[answered].mean())
        for exit in scores.topology.exits
        if (decisions.exit == exit.rank).any()
    )


@dataclass(frozen=True, slots=True)
class OracleExit:
    """What an exit rule that knows the truth would answer: a ceiling for every criterion."""

    label: Ints
    """(N,), right if any exit is."""
    exit: Ints
    """(N,), rank of the first exit that is right, of the cloud where none is, `NOBODY` where no device is present."""

    def accuracy(self, y: Ints) -> float:
        """Share of events that some exit has right."""
        return float((self.label == y).mean())

    def share(self, exit: Exit) -> float:
        """Share of events that leave at `exit`."""
        return float((self.exit == exit.rank).mean())


def oracle_exit(scores: Scores, policy: Policy, exits: Sequence[Exit] | None = None) -> OracleExit:
    """Let every event leave at the first of `exits` that is right; by default all that the network has.

    The device exit counts by default only where the policy lets devices answer.
    """
    if exits is None:
        exits = [exit for exit in scores.topology.exits if exit is not Exit.DEVICE or policy.thresholds.device > 0]
    label = exit_labels(scores, policy, Exit.CLOUD)
    rank = np.where(scores.present.any(axis=1), Exit.CLOUD.rank, NOBODY)
    for exit in sorted(exits, key=lambda exit: exit.rank, reverse=True):
        said = exit_labels(scores, policy, exit)
        right = said == scores.y
        label, rank = np.where(right, said, label), np.where(right, exit.rank, rank)
    return OracleExit(label, rank)
