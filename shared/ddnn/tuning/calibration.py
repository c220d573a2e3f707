"""Whether an exit knows when it is wrong.

Legend: n answers. AUROC is the chance that a wrong answer is less sure than a right one; ECE the expected calibration
error (Guo et al. 2017), the mean distance of confidence and accuracy over bins of confidence, weighted by answers.
"""

from typing import Any, Final

import numpy as np

from ddnn.evaluation import Scores, judge
from ddnn.policy import Policy
from ddnn.tier import Exit
from ddnn.types import Bools, Floats

__all__ = ["BINS", "answers", "auroc", "calibration", "reliability"]

BINS: Final = 10


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
    p, unsure = judge(scores, policy, exit)
    there = scores.there(exit)
    y = scores.y_dev if exit is Exit.DEVICE else scores.y if there.ndim == 1 else scores.y[:, None]
    y = np.broadcast_to(y, there.shape)
    there = there & (y >= 0)
    return unsure[there], np.asarray(p.argmax(axis=-1) == y)[there]


def auroc(unsure: Floats, right: Bools) -> float | None:
    """Mann-Whitney's statistic of wrong against right answers, ties counted half; None when all are alike."""
    wrong = int((~right).sum())
    if not 0 < wrong < len(right):
        return None
    _, place, count = np.unique(unsure, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((rank[~right].sum() - wrong * (wrong + 1) / 2) / (wrong * (len(right) - wrong)))


def reliability(confident: Floats, right: Bools) -> dict[str, Any]:
    """ECE, and per bin of equal width its share of answers, mean confidence and accuracy, 0 where it is empty."""
    place = np.clip((confident * BINS).astype(np.int64), 0, BINS - 1)
    count = np.bincount(place, minlength=BINS)
    some = np.maximum(count, 1)
    said = np.bincount(place, weights=confident, minlength=BINS) / some
    was = np.bincount(place, weights=right, minlength=BINS) / some
    share = count / max(len(right), 1)
    return {
        "ece": float((share * np.abs(said - was)).sum()),
        "bins": {"share": share.tolist(), "confidence": said.tolist(), "right": was.tolist()},
    }
