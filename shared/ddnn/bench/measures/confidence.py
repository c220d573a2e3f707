"""Whether an exit knows when it is wrong.

Legend: N events. AUROC is the chance that a wrong answer is less sure than a right one; ECE the expected calibration
error (Guo et al. 2017), the mean distance of confidence and accuracy over bins of confidence, weighted by events.
"""

from typing import Any, Final

import numpy as np

from ddnn.bench.measures.exits import fused
from ddnn.bench.measures.subject import Subject
from ddnn.evaluation.baselines import exit_alone
from ddnn.types import Bools, Floats

__all__ = ["BINS", "auroc", "confidence", "reliability"]

BINS: Final = 10


def confidence(subject: Subject) -> dict[str, Any]:
    """AUROC of the criterion, ECE and the bins behind it, for each fused exit at its temperature."""
    scores, policy = subject.test, subject.bundle.policy
    found = {}
    for exit in fused(scores):
        said = exit_alone(scores, policy, exit)
        right = np.asarray(said.label == scores.y)
        found[exit.value] = {
            "auroc": auroc(said.unsureness, right),
            **reliability(said.probabilities.max(axis=1), right),
        }
    return found


def auroc(unsure: Floats, right: Bools) -> float | None:
    """Mann-Whitney's statistic of wrong against right answers, ties counted half; None when all are alike."""
    wrong = int((~right).sum())
    if not 0 < wrong < len(right):
        return None
    _, place, count = np.unique(unsure, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((rank[~right].sum() - wrong * (wrong + 1) / 2) / (wrong * (len(right) - wrong)))


def reliability(confident: Floats, right: Bools) -> dict[str, Any]:
    """ECE, and per bin of equal width its share of events, mean confidence and accuracy, 0 where it is empty."""
    place = np.minimum((confident * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    some = np.maximum(count, 1)
    said = np.bincount(place, weights=confident, minlength=BINS) / some
    was = np.bincount(place, weights=right, minlength=BINS) / some
    share = count / len(right)
    return {
        "ece": float((share * np.abs(said - was)).sum()),
        "bins": {"share": share.tolist(), "confidence": said.tolist(), "right": was.tolist()},
    }
