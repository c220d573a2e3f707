"""Whether an exit knows when it is wrong, and the temperature at which its probabilities mean what they say.

Legend: n answers. AUROC is the chance that a wrong answer is less sure than a right one; ECE the expected calibration
error (Guo et al. 2017), the mean distance of confidence and accuracy over bins of confidence, weighted by answers.
Temperature scaling, too, is theirs: one temperature an exit.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ddnn.evaluation import Scores
from ddnn.evaluation.temperature import fit_temperature
from ddnn.exits import Judged
from ddnn.extensions import needed_for
from ddnn.policy import Temperatures
from ddnn.types import Bools, Exit, Floats, Ints

__all__ = ["BINS", "answers", "auroc", "calibration", "fit_temperatures", "reliability"]

BINS: Final = 10


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
