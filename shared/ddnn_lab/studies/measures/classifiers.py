"""Classifiers that are no networks, on the same events; and whether test events have near-duplicates in training."""

from typing import Any

import numpy as np

from ddnn.data.leak import near_duplicates
from ddnn_lab.baselines import linear, linear_alone, majority, nearest, presence
from ddnn_lab.studies.measures.subject import Subject

__all__ = ["classifiers"]


def classifiers(subject: Subject) -> dict[str, Any]:
    """Accuracy on test of each baseline; the best single device of the linear ones is chosen on validation."""
    data, y = subject.data, subject.test_events.y
    whole = {
        "majority": majority(data),
        "presence": presence(data),
        "nearest": nearest(data),
        "linear": linear(data),
    }
    known = data.subset("validation").y
    best = int((linear_alone(data, part="validation") == known[:, None]).mean(axis=0).argmax())
    each = (linear_alone(data) == y[:, None]).mean(axis=0)
    return {
        "events": len(y),
        **{name: {"accuracy": float(np.mean(labels == y))} for name, labels in whole.items()},
        "linear_each": {"accuracy": [float(share) for share in each]},
        "linear_best": {"accuracy": float(each[best]), "device": str(best)},
        "near_duplicates": near_duplicates(data),
    }
