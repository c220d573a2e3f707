"""Whether an exit knows when it is wrong, and the temperature at which its probabilities mean what they say.

Legend: n answers. AUROC is the chance that a wrong answer is less sure than a right one; ECE the expected calibration
error (Guo et al. 2017), the mean distance of confidence and accuracy over bins of confidence, weighted by answers.
Temperature scaling, too, is theirs: one temperature an exit.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ddnn.evaluation import Scores
from ddnn.exits import Judged
from ddnn.extensions import needed_for
from ddnn.policy import Temperatures
from ddnn.types import Bools, Exit, Floats, Ints

__all__ = ["BINS", "BOUNDS", "answers", "auroc", "calibration", "fit_temperature", "fit_temperatures", "reliability"]

BINS: Final = 10
BOUNDS: Final = (1 / 16, 16.0)  #: where a temperature is sought; scores that are never wrong would drive it to 0
_GOLDEN: Final = (math.sqrt(5) - 1) / 2


def calibration(scores: Scores, judged: Mapping[Exit, Judged]) -> dict[str, Any]:
    """AUROC, ECE and the bins behind it of every exit's confidence, 1 − its criterion, by exit."""
    found = {}
    for exit, said in judged.items():
        unsure, right = answers(scores, exit, said)
        found[exit.value] = {"answers": len(right), "auroc": auroc(unsure, right), **reliability(1 - unsure, right)}
    return found


def answers(scores: Scores, exit: Exit, said: Judged) -> tuple[Floats, Bools]:
    """(n,) criterion, and whether it is right, of all that an exit says: of every event that it sees, at every place.

    A device's answers are held against what it sees itself; where it sees nothing, they do not count.
    """
    y, there = _truth(scores, exit)
    return said.uncertainty[there], scores.task.right(said.labels, y)[there]


def _truth(scores: Scores, exit: Exit) -> tuple[Ints, Bools]:
    """What is right in each place of an exit, and where somebody took part and it is known."""
    there = scores.there(exit)
    y = scores.y_dev if exit is Exit.DEVICE else scores.y.reshape(-1, *[1] * (there.ndim - 1))
    y = np.broadcast_to(y, there.shape)
    return y, there & (y >= 0)


def auroc(unsure: Floats, right: Bools) -> float | None:
    """AUROC of a criterion (n,) for wrong against right answers, ties counted half; None when all are alike."""
    if right.all() or not right.any():
        return None
    with needed_for("AUROC"):
        from sklearn.metrics import roc_auc_score
    return float(roc_auc_score(~right, unsure))


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


def fit_temperatures(scores: Scores) -> Temperatures:
    """The temperature of every exit, each on the events and devices that took part and carry a label."""
    fitted = {}
    for exit in scores.topology.exits:
        y, there = _truth(scores, exit)
        fitted[exit.value] = fit_temperature(scores.of(exit)[there], y[there])
    return Temperatures(**fitted)


def fit_temperature(scores: Floats, y: Ints) -> float:
    """The T in `BOUNDS` that minimises the mean negative log-likelihood of softmax(scores / T); (n, K), (n,).

    The loss is convex in 1 / T, so it has one valley in log T, and golden-section search finds it.
    """
    if not len(y):
        return 1.0
    exact = scores.astype(np.float64)
    low, high = math.log(BOUNDS[0]), math.log(BOUNDS[1])
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = _loss(exact, y, left), _loss(exact, y, right)
    while high - low > 1e-4:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = _loss(exact, y, left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = _loss(exact, y, right)
    return round(math.exp((low + high) / 2), 4)


def _loss(scores: np.ndarray[tuple[int, ...], np.dtype[np.float64]], y: Ints, log_temperature: float) -> float:
    scaled = scores / math.exp(log_temperature)
    scaled -= scaled.max(axis=1, keepdims=True)
    return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(y)), y]).mean())
