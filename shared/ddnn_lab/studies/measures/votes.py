"""What devices that know nothing of each other would answer together.

Legend: N events, D devices, K classes.
"""

from typing import Any

import numpy as np

from ddnn.evaluation import Scores
from ddnn.exits import probabilities
from ddnn.policy import Policy
from ddnn.types import Array, Floats
from ddnn_lab.studies.measures.subject import Subject

__all__ = ["majority_vote", "mean_vote", "votes"]


def votes(subject: Subject) -> dict[str, Any] | None:
    """Each device alone, over all events and over those it sees; the best of them, and two votes, chosen on validation.

    None for a network whose devices have no exit.
    """
    policy = subject.bundle.policy
    if subject.bundle.topology.device_cut is None:
        return None
    known, asked = subject.validation, subject.test
    best = int(np.argmax(_alone(known)))
    rules = {"majority": majority_vote, "mean_probability": mean_vote}
    on_validation = {name: _share(known, rule(known, policy)) for name, rule in rules.items()}
    found: dict[str, Any] = {name: {"accuracy": _share(asked, rule(asked, policy))} for name, rule in rules.items()}
    better = max(on_validation, key=on_validation.__getitem__)
    seen = asked.present
    right = (_labels(asked) == asked.y[:, None]) & seen
    return {
        "events": len(asked),
        "each": {"accuracy": _alone(asked)},
        "each_seen": {
            "accuracy": [float(right[seen[:, i], i].mean()) if seen[:, i].any() else None for i in range(seen.shape[1])]
        },
        "best": {"accuracy": _alone(asked)[best], "device": str(best)},
        **found,
        "bar": {"accuracy": found[better]["accuracy"], "rule": better},
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
    """(N, D, K), 0 for who is absent."""
    return probabilities(_device(scores), policy.temperatures.device) * scores.present[:, :, None]


def _alone(scores: Scores) -> list[float]:
    """Accuracy of each device over all events; what it does not see it has wrong."""
    right = (_labels(scores) == scores.y[:, None]) & scores.present
    return [float(share) for share in right.mean(axis=0)]


def _labels(scores: Scores) -> Array:
    return np.asarray(_device(scores).argmax(axis=2))


def _device(scores: Scores) -> Floats:
    if scores.device is None:
        raise ValueError("these devices have no exit")
    return scores.device


def _share(scores: Scores, label: Array) -> float:
    return float(((label == scores.y) & scores.present.any(axis=1)).mean())
