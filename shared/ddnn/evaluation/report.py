"""The document of `ddnn evaluate --json`.

Accuracies and shares are in 0..1, bytes are per event, exits that the network does not have are None.
"""

from itertools import combinations
from typing import Any, Final

import numpy as np

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.evaluation.classes import by_class
from ddnn.evaluation.decide import Decisions, decide
from ddnn.evaluation.scores import Progress, Recorder, Scores
from ddnn.evaluation.sent import sent
from ddnn.policy import Policy
from ddnn.traffic import communication_bytes, crossings
from ddnn.types import Array, Bools, Exit, Ints, Tier

__all__ = ["MOST_DEVICES", "accuracies", "evaluate", "formula", "missing_devices", "overall", "traffic"]

MOST_DEVICES: Final = 6  #: up to here every subset of the devices is tried, 2^D - 1 of them


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
        "by_class": by_class(scores, decisions, bundle.manifest.classes),
        "bytes": traffic(scores, decisions, bundle.policy),
        "sent": sent(bundle),
    }
    return document | ({"missing": missing_devices(recorder, bundle.policy, data.y, progress)} if missing else {})


def accuracies(scores: Scores) -> dict[str, Any]:
    """Accuracy of each exit if it answered everything; several edges: over all their events together."""
    return {
        exit.value: {"accuracy": _accuracy(scores, exit)} if exit in scores.topology.exits else None for exit in Exit
    }


def _accuracy(scores: Scores, exit: Exit) -> float | list[float | None] | None:
    labels, there = scores.labels(exit), scores.there(exit)
    if exit is Exit.DEVICE:
        seen = there & (scores.y_dev >= 0)
        right = scores.task.right(labels, scores.y_dev)
        return [_share(right[:, i], seen[:, i]) for i in range(seen.shape[1])]
    return _share(scores.right(labels), there)


def _share(right: Array, of: Bools) -> float | None:
    return float(right[of].mean()) if of.any() else None


def overall(scores: Scores, decisions: Decisions, policy: Policy) -> dict[str, Any]:
    """Accuracy, share per exit and thresholds under the policy."""
    there = scores.topology.exits
    below = [exit for exit in Exit if exit is not Exit.CLOUD]
    return {
        "accuracy": decisions.accuracy(scores.y),
        "exit_share": {exit.value: decisions.share(exit) if exit in there else None for exit in Exit},
        "thresholds": {exit.value: policy.thresholds.of(exit) if exit in there else None for exit in below},
    }


def traffic(scores: Scores, decisions: Decisions, policy: Policy) -> dict[str, Any]:
    """Bytes on each link, per event, all devices together."""
    given = scores.topology, scores.classes, scores.present, decisions.sure, decisions.settled, policy.offload
    devices, cloud = crossings(*given, asked=scores.asked, view_bytes=scores.view_bytes)
    views = np.array([spec.view.bytes for spec in scores.topology.devices])
    return {
        "device_to_edge": devices.per_event(),
        "edge_to_cloud": cloud.per_event(),
        "formula": formula(scores, decisions),
        "raw_views": float((scores.present * views).sum(axis=1).mean()),
    }


def formula(scores: Scores, decisions: Decisions) -> float:
    """The paper's c × D bytes; l = share that the device or local exit answers. Raw views, where they go up, are it."""
    topology, cut = scores.topology, scores.topology.features(Tier.DEVICE)
    if cut is None:
        return float(sum(spec.view.bytes for spec in topology.devices))
    leave = decisions.share(Exit.DEVICE) + decisions.share(Exit.LOCAL)
    each = communication_bytes(scores.classes, cut.shape[0], cut.values // cut.shape[0], leave)
    return each * len(topology.devices)


def missing_devices(recorder: Recorder, policy: Policy, y: Ints, progress: Progress | None = None) -> dict[str, Any]:
    """What happens when devices fail after training: overall accuracy under the policy, without training again.

    `one`: each single device lost, none for a lone device. `subsets`: only these devices left; none above six devices.
    """
    count = len(recorder.topology.devices)
    every = tuple(range(count))
    sizes = range(1, count + 1) if count <= MOST_DEVICES else (count - 1,)
    groups = [group for size in sizes for group in combinations(every, size) if group]
    accuracy: dict[tuple[int, ...], float] = {}
    for done, group in enumerate(groups, start=1):
        present = np.broadcast_to(np.isin(every, group), (len(y), count))
        accuracy[group] = decide(recorder.scores(present), policy).accuracy(y)
        if progress:
            progress("subsets of devices", done, len(groups))
    each = [accuracy[tuple(i for i in every if i != lost)] for lost in every] if count > 1 else []
    subsets = {"+".join(map(str, group)): value for group, value in accuracy.items()}
    return {
        "one": {"mean": float(np.mean(each)), "worst": min(each), "each": each} if each else None,
        "subsets": subsets if count <= MOST_DEVICES else None,
    }
