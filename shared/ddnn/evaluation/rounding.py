"""Whether scores may go up in fewer bits: only where that changes nothing that is decided."""

import numpy as np

from ddnn.evaluation.decide import decide
from ddnn.evaluation.scores import Scores
from ddnn.policy import Policy

__all__ = ["same_answers"]


def same_answers(one: Scores, other: Scores, policy: Policy) -> bool:
    """Whether every label of every exit, and all that `policy` decides, is the same for two recordings of events."""
    for exit in one.topology.exits:
        if (one.labels(exit) != other.labels(exit))[one.there(exit)].any():
            return False
    first, second = decide(one, policy), decide(other, policy)
    names = ("label", "exit", "devices", "sure", "settled")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)
