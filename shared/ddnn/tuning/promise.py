"""How far the answers below the cloud are from what the cloud would have said: what audits are held against."""

import numpy as np

from ddnn.evaluation import NOBODY, Scores, decide
from ddnn.policy import Policy
from ddnn.tier import Exit
from ddnn.tuning.binomial import upper_bound
from ddnn.types import Ints

__all__ = ["cloud_labels", "disagreement"]


def disagreement(scores: Scores, policy: Policy, confidence: float) -> dict[Exit, float]:
    """For each exit below the cloud that answers: an upper bound on the share of its answers that the cloud changes.

    One-sided, exact (Clopper and Pearson), each exit by itself, over the draw of the events behind `scores`.
    """
    decisions, cloud = decide(scores, policy), cloud_labels(scores)
    found: dict[Exit, float] = {}
    for exit in scores.topology.exits:
        mine = decisions.exit == exit.rank
        if exit is not Exit.CLOUD and mine.any():
            differ = int((decisions.label[mine] != cloud[mine]).sum())
            found[exit] = round(upper_bound(differ, int(mine.sum()), confidence), 6)
    return found


def cloud_labels(scores: Scores) -> Ints:
    """(N,) what the cloud says of every event, `NOBODY` where no device took part."""
    return np.where(scores.there(Exit.CLOUD), scores.cloud.argmax(axis=1), NOBODY)
