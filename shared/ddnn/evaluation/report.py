"""The document of `ddnn evaluate --json`.

Accuracies and shares are in 0..1, bytes are per event, exits that the network does not have are None.
"""

from typing import Any

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.evaluation.decide import Decisions, decide
from ddnn.evaluation.missing import missing as missing_devices
from ddnn.evaluation.scores import Progress, Recorder, Scores
from ddnn.evaluation.traffic import traffic
from ddnn.policy import Policy
from ddnn.types import Array, Bools, Exit

__all__ = ["accuracies", "evaluate", "overall"]


def evaluate(
    bundle: Bundle, data: Dataset, *, missing: bool = False, batch: int = 256, progress: Progress | None = None
) -> dict[str, Any]:
    """Evaluate `bundle` on all events of `data` under its policy; `missing` adds what device failures cost.

    Raises `BadData` when the events do not fit the bundle.
    """
    recorder = Recorder(bundle, data, batch=batch, progress=progress)
    scores = recorder.scores()
    decisions = decide(scores, bundle.policy)
    document = {
        "events": len(scores),
        "classes": len(bundle.manifest.classes),
        "devices": len(bundle.topology.devices),
        "split": scores.source["split"],
        "exits": accuracies(scores),
        "overall": overall(scores, decisions, bundle.policy),
        "bytes": traffic(scores, decisions, bundle.policy),
    }
    return document | ({"missing": missing_devices(recorder, bundle.policy, data.y, progress)} if missing else {})


def accuracies(scores: Scores) -> dict[str, Any]:
    """Accuracy of each exit if it answered everything; several edges: over all their events together."""
    return {
        exit.value: {"accuracy": _accuracy(scores, exit)} if exit in scores.topology.exits else None for exit in Exit
    }


def _accuracy(scores: Scores, exit: Exit) -> float | list[float | None] | None:
    labels, there = scores.of(exit).argmax(axis=-1), scores.there(exit)
    if exit is Exit.DEVICE:
        seen = there & (scores.y_dev >= 0)
        right = labels == scores.y_dev
        return [_share(right[:, i], seen[:, i]) for i in range(seen.shape[1])]
    return _share(labels == (scores.y if labels.ndim == 1 else scores.y[:, None]), there)


def overall(scores: Scores, decisions: Decisions, policy: Policy) -> dict[str, Any]:
    """Accuracy, share per exit and thresholds under the policy."""
    there = scores.topology.exits
    below = [exit for exit in Exit if exit is not Exit.CLOUD]
    return {
        "accuracy": decisions.accuracy(scores.y),
        "exit_share": {exit.value: decisions.share(exit) if exit in there else None for exit in Exit},
        "thresholds": {exit.value: policy.thresholds.of(exit) if exit in there else None for exit in below},
    }


def _share(right: Array, of: Bools) -> float | None:
    return float(right[of].mean()) if of.any() else None
