"""Devices by themselves, and gone: their votes, and the trained network without some of them.

Legend: N events, D devices, K classes.
"""

from typing import Any

import numpy as np

from ddnn.evaluation import Scores, decide
from ddnn.evaluation.decide import exit_alone
from ddnn.evaluation.report import MOST_DEVICES, missing_devices
from ddnn.policy import Policy
from ddnn.task import probabilities
from ddnn.types import Array, Exit
from ddnn_lab.studies.measures.subject import Subject

__all__ = ["majority_vote", "mean_vote", "one_lost", "subsets", "votes"]


def votes(subject: Subject) -> dict[str, Any] | None:
    """Each device alone, over all events and over those it sees; the best of them, and two votes, chosen on validation.

    None for a network whose devices have no exit.
    """
    if Exit.DEVICE not in subject.bundle.topology.exits:
        return None
    known, scores, policy = subject.validation, subject.test, subject.policy
    right, seen = _right(scores), scores.present
    alone = [float(share) for share in right.mean(axis=0)]
    best = int(_right(known).mean(axis=0).argmax())
    rules = {"majority": majority_vote, "mean_probability": mean_vote}
    better = max(rules, key=lambda rule: _accuracy(known, rules[rule](known, policy)))
    accuracy = {name: _accuracy(scores, rule(scores, policy)) for name, rule in rules.items()}
    return {
        "events": len(scores),
        "each": {"accuracy": alone},
        "each_seen": {
            "accuracy": [float(right[seen[:, i], i].mean()) if seen[:, i].any() else None for i in range(len(alone))]
        },
        "best": {"accuracy": alone[best], "device": str(best)},
        **{name: {"accuracy": value} for name, value in accuracy.items()},
        "bar": {"accuracy": accuracy[better], "rule": better},
    }


def majority_vote(scores: Scores, policy: Policy) -> Array:
    """(N,) the label that most of the present devices give; of equals the one with the larger sum of probabilities."""
    p = _probabilities(scores, policy)
    labels = np.eye(p.shape[2])[p.argmax(axis=2)] * scores.present[:, :, None]
    return np.asarray((labels.sum(axis=1) + p.sum(axis=1) / (p.shape[1] + 1)).argmax(axis=1))


def mean_vote(scores: Scores, policy: Policy) -> Array:
    """(N,) the label with the largest mean probability over the present devices."""
    return np.asarray(_probabilities(scores, policy).sum(axis=1).argmax(axis=1))


def _probabilities(scores: Scores, policy: Policy) -> Array:
    """(N, D, K), 0 where the device is absent."""
    return probabilities(scores.of(Exit.DEVICE), policy.temperatures.device) * scores.present[:, :, None]


def _right(scores: Scores) -> Array:
    """(N, D) whether each device by itself is right about the event; what it does not see it has wrong."""
    return np.asarray((scores.of(Exit.DEVICE).argmax(axis=2) == scores.y[:, None]) & scores.present)


def _accuracy(scores: Scores, label: Array) -> float:
    return float(((label == scores.y) & scores.present.any(axis=1)).mean())


def one_lost(subject: Subject) -> dict[str, Any] | None:
    """Accuracy of every exit and overall with each single device lost, nothing trained or tuned again.

    None for a lone device.
    """
    policy, data = subject.policy, subject.test_events
    if data.devices == 1:
        return None
    each = []
    for lost in range(data.devices):
        scores = subject.recorder.scores(np.broadcast_to(np.arange(data.devices) != lost, data.present.shape))
        accuracy = {"overall": decide(scores, policy).accuracy(data.y)}
        for exit in subject.exits:
            accuracy[exit.value] = exit_alone(scores, policy, exit).accuracy(data.y)
        each.append(accuracy)
    values = [accuracy["overall"] for accuracy in each]
    return {
        "mean": {"accuracy": float(np.mean(values))},
        "worst": {"accuracy": min(values)},
        "each": [{name: {"accuracy": value} for name, value in accuracy.items()} for accuracy in each],
    }


def subsets(subject: Subject) -> dict[str, Any] | None:
    """Overall accuracy with only these devices left, all 2^D − 1 choices; None above six devices."""
    data = subject.test_events
    if not 1 < data.devices <= MOST_DEVICES:
        return None
    left = missing_devices(subject.recorder, subject.policy, data.y)["subsets"]
    return {group: {"accuracy": value} for group, value in left.items()}
