"""What else could answer: classifiers that are no networks, and the same network on pictures that went through JPEG."""

from typing import Any, Final

import numpy as np

from ddnn.data.neighbours import near_duplicates
from ddnn.evaluation import decide, record
from ddnn_lab.baselines import linear, linear_alone, majority, nearest, presence
from ddnn_lab.jpeg import jpeg_views
from ddnn_lab.studies.measures.subject import Subject

__all__ = ["classifiers", "jpeg"]

MOST: Final = 2000
"""Test events that are encoded, evenly spaced: they take longer than the network."""


def classifiers(subject: Subject) -> dict[str, Any]:
    """Accuracy on test of each baseline, and whether test events have near-duplicates in training.

    The best single device of the linear ones is chosen on validation.
    """
    data, y = subject.data, subject.test_events.y
    baselines = {"majority": majority, "presence": presence, "nearest": nearest, "linear": linear}
    known = data.subset("validation").y
    best = int((linear_alone(data, part="validation") == known[:, None]).mean(axis=0).argmax())
    alone = (linear_alone(data) == y[:, None]).mean(axis=0)
    return {
        "events": len(y),
        **{name: {"accuracy": float(np.mean(labels(data) == y))} for name, labels in baselines.items()},
        "linear_each": {"accuracy": [float(share) for share in alone]},
        "linear_best": {"accuracy": float(alone[best]), "device": str(best)},
        "near_duplicates": near_duplicates(data),
    }


def jpeg(subject: Subject) -> dict[str, Any] | None:
    """Accuracy on test and bytes a device and event for each quality; None unless all views are uint8 images."""
    test = subject.test_events
    if any(view.ndim != 4 or view.dtype != np.uint8 or view.shape[1] not in (1, 3) for view in test.views):
        return None
    test = test.take(np.unique(np.linspace(0, len(test) - 1, min(len(test), MOST)).astype(np.int64)))
    bundle, views = subject.bundle, test.present.size
    points = []
    for quality in subject.qualities:
        sent = jpeg_views(test, quality)
        points.append(
            {
                "quality": str(quality),
                "accuracy": decide(record(bundle, sent.data), bundle.policy).accuracy(test.y),
                "file": float(sent.file_bytes.sum() / views),
                "scan": float(sent.scan_bytes.sum() / views),
            }
        )
    raw = sum(spec.view.bytes for spec in bundle.topology.devices) / len(bundle.topology.devices)
    plain = decide(record(bundle, test), bundle.policy).accuracy(test.y)
    return {"events": len(test), "points": points, "raw": {"accuracy": plain, "bytes": raw}}
