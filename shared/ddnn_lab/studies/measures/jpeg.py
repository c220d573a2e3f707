"""The same network on pictures that went through JPEG: what a cloud gets for how many bytes."""

from typing import Any, Final

import numpy as np

from ddnn.evaluation import decide, record
from ddnn_lab.jpeg import jpeg_views
from ddnn_lab.studies.measures.subject import Subject

__all__ = ["jpeg"]

MOST: Final = 2000
"""Test events that are encoded, evenly spaced: they take longer than the network."""


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
        scores = record(bundle, sent.data)
        points.append(
            {
                "quality": str(quality),
                "accuracy": decide(scores, bundle.policy).accuracy(test.y),
                "file": float(sent.file_bytes.sum() / views),
                "scan": float(sent.scan_bytes.sum() / views),
            }
        )
    raw = sum(spec.view.bytes for spec in bundle.topology.devices) / len(bundle.topology.devices)
    plain = decide(record(bundle, test), bundle.policy).accuracy(test.y)
    return {"events": len(test), "points": points, "raw": {"accuracy": plain, "bytes": raw}}
