"""Whether an exit knows when it is wrong."""

from typing import Any

import numpy as np

from ddnn.evaluation.decide import exit_alone
from ddnn.tuning.calibration import auroc, reliability
from ddnn_lab.studies.measures.exits import fused
from ddnn_lab.studies.measures.subject import Subject

__all__ = ["confidence"]


def confidence(subject: Subject) -> dict[str, Any]:
    """AUROC of the criterion, ECE and the bins behind it, for each fused exit at its temperature."""
    scores, policy = subject.test, subject.bundle.policy
    found = {}
    for exit in fused(scores):
        said = exit_alone(scores, policy, exit)
        right = np.asarray(said.label == scores.y)
        found[exit.value] = {
            "auroc": auroc(said.uncertainty, right),
            **reliability(said.probabilities.max(axis=1), right),
        }
    return found
