"""What offloading is held against: events sent up at random, and events sent up because a lower exit is wrong."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ddnn.evaluation import NOBODY, Decisions, Scores
from ddnn.evaluation.decide import exit_alone
from ddnn.policy import Policy
from ddnn.types import Exit

__all__ = ["oracle_exit", "random_offload"]


def random_offload(scores: Scores, policy: Policy, decisions: Decisions) -> float:
    """Expected accuracy if each exit answered as many events as in `decisions`, but a random set of them.

    Exact: the sum over the exits of share × accuracy on all events, as a random set is right as often as the whole.
    """
    answered = decisions.exit != NOBODY
    return sum(
        decisions.share(exit) * float((exit_alone(scores, policy, exit).label == scores.y)[answered].mean())
        for exit in scores.topology.exits
        if (decisions.exit == exit.rank).any()
    )


def oracle_exit(scores: Scores, policy: Policy, exits: Sequence[Exit] | None = None) -> Decisions:
    """Labels and exits if every event left at the first of `exits` that is right: a ceiling for every criterion.

    By default all exits that the network has; the device exit only where the policy lets devices answer. The cloud's
    answer stands where no exit is right.
    """
    if exits is None:
        exits = [exit for exit in scores.topology.exits if exit is not Exit.DEVICE or policy.thresholds.device > 0]
    oracle = exit_alone(scores, policy, Exit.CLOUD)
    for exit in sorted(exits, key=lambda exit: exit.rank, reverse=True):
        label = exit_alone(scores, policy, exit).label
        right = label == scores.y
        chosen = np.where(right, exit.rank, oracle.exit)
        oracle = replace(oracle, label=np.where(right, label, oracle.label), exit=chosen)
    return oracle
