"""How far the answers below the cloud are from what the cloud would have said: what audits are held against."""

import numpy as np

from ddnn.evaluation import NOBODY, Scores, decide
from ddnn.policy import Policy, Promise, Usual
from ddnn.tuning.binomial import upper_bound
from ddnn.types import Exit, Ints

__all__ = ["cloud_labels", "disagreement", "promise", "usual"]


def promise(scores: Scores, policy: Policy, confidence: float = 0.95) -> Promise:
    """What `policy` did on the events behind `scores`, for the audits of a running fleet; no risk is promised."""
    return Promise(
        disagreement=disagreement(scores, policy, confidence),
        confidence=confidence,
        events=len(scores),
        usual=usual(scores, policy),
    )


def usual(scores: Scores, policy: Policy) -> dict[Exit, Usual]:
    """Each exit's share of the answers, and how sure they were; of the exits that answered."""
    decisions, found = decide(scores, policy), {}
    for exit in scores.topology.exits:
        mine = decisions.exit == exit.rank
        if mine.any():
            bins = np.histogram(1 - decisions.uncertainty[mine], bins=10, range=(0, 1))[0] / mine.sum()
            found[exit] = Usual(share=float(mine.mean()), confidence=tuple(bins.tolist()))
    return found


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
    return np.where(scores.there(Exit.CLOUD), scores.labels(Exit.CLOUD), NOBODY)
