"""Failure after training: the network as it is, with devices gone; nothing is trained or tuned again."""

from typing import Any

import numpy as np

from ddnn.evaluation import decide
from ddnn.evaluation.report import MOST_DEVICES, missing_devices
from ddnn.types import Exit
from ddnn_lab.studies.measures.exits import exit_right
from ddnn_lab.studies.measures.subject import Subject

__all__ = ["one_lost", "subsets"]


def one_lost(subject: Subject) -> dict[str, Any] | None:
    """Accuracy of every exit and overall with each single device lost; None for a lone device."""
    policy, data = subject.bundle.policy, subject.test_events
    if data.devices == 1:
        return None
    each = []
    for lost in range(data.devices):
        present = np.broadcast_to(np.arange(data.devices) != lost, data.present.shape)
        scores = subject.recorder.scores(present)
        answers = {"overall": decide(scores, policy).accuracy(data.y)}
        for exit in subject.bundle.topology.exits:
            if exit is not Exit.DEVICE:
                answers[exit.value] = float(exit_right(scores, policy, exit).mean())
        each.append(answers)
    values = [answers["overall"] for answers in each]
    return {
        "mean": {"accuracy": float(np.mean(values))},
        "worst": {"accuracy": min(values)},
        "each": [{name: {"accuracy": value} for name, value in answers.items()} for answers in each],
    }


def subsets(subject: Subject) -> dict[str, Any] | None:
    """Overall accuracy with only these devices left, all 2^D − 1 choices; None above six devices."""
    data = subject.test_events
    if not 1 < data.devices <= MOST_DEVICES:
        return None
    found = missing_devices(subject.recorder, subject.bundle.policy, data.y)["subsets"]
    return {group: {"accuracy": value} for group, value in found.items()}
