"""How well a confidence tells right from wrong, and how true it is.

Legend: n answers. AUROC is the chance that a wrong answer is less sure than a right one; ECE the expected calibration
error (Guo et al. 2017), the mean distance of confidence and accuracy over bins of confidence, weighted by answers.
"""

from typing import Any, Final

import numpy as np

from ddnn.types import Bools, Floats

__all__ = ["BINS", "auroc", "reliability"]

BINS: Final = 10


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
