"""Whether an exit knows when it is wrong.

Legend: n answers.
"""

from typing import Any

import numpy as np

from ddnn.evaluation import Scores, judge
from ddnn.evaluation.reliability import auroc, reliability
from ddnn.policy import Policy
from ddnn.types import Bools, Exit, Floats

__all__ = ["answers", "calibration"]


def calibration(scores: Scores, policy: Policy) -> dict[str, Any]:
    """AUROC, ECE and the bins behind it of every exit's confidence, 1 − its criterion, by exit."""
    found = {}
    for exit in scores.topology.exits:
        unsure, right = answers(scores, policy, exit)
        found[exit.value] = {"answers": len(right), "auroc": auroc(unsure, right), **reliability(1 - unsure, right)}
    return found


def answers(scores: Scores, policy: Policy, exit: Exit) -> tuple[Floats, Bools]:
    """(n,) criterion, and whether it is right, of all that an exit says: of every event that it sees, at every place.

    A device's answers are held against what it sees itself; where it sees nothing, they do not count.
    """
    _, unsure, labels = judge(scores, policy, exit)
    there = scores.there(exit)
    y = scores.y_dev if exit is Exit.DEVICE else scores.y if there.ndim == 1 else scores.y[:, None]
    y = np.broadcast_to(y, there.shape)
    there = there & (y >= 0)
    return unsure[there], np.asarray(labels == y)[there]
