"""The study's own network, trained jointly, and what it is compared with: devices, exits and a cloud trained apart."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from ddnn.bundle import Bundle
from ddnn.errors import BadData, Infeasible
from ddnn.evaluation import decide
from ddnn.tuning import tune
from ddnn.types import Exit
from ddnn_lab.studies.intervals import gathered, paired, sampled, values
from ddnn_lab.studies.job import Replicate
from ddnn_lab.studies.planner import Planner, Variant
from ddnn_lab.studies.study import Changes
from ddnn_lab.studies.subject import kept_scores

__all__ = [
    "JOINT",
    "always",
    "devices",
    "devices_results",
    "exits",
    "exits_results",
    "overall",
    "uncut",
    "uncut_results",
]

JOINT: Final = Variant(
    "joint", measures=("exits", "one_lost", "subsets", "confidence", "thresholds", "frontier", "votes", "scores")
)
"""The study's own network, all exits trained together."""

RAW: Final = Changes(
    network={"device_section": False, "edge_section": False, "blocks": "float", "edges": [], "shared_weights": False},
    training={"device_dropout": 0.0},
)
"""The paper's configuration (a), trained for the case that all views are there."""

LAST: Final = 128
"""Filters of the block that sees all views."""
WEIGHTS: Final = ("device_weight", "local_weight", "edge_weight", "cloud_weight")


def overall(measures: Mapping[str, Any]) -> float:
    """The tuned accuracy of a run."""
    return float(measures["exits"]["overall"]["accuracy"])


def always(exit: Exit) -> Callable[[Mapping[str, Any]], float | None]:
    """Accuracy of a run if `exit` answers every event; None where the network has no such exit."""

    def accuracy(measures: Mapping[str, Any]) -> float | None:
        alone = measures["exits"]["always"].get(exit.value)
        return float(alone["accuracy"]) if alone else None

    return accuracy


def devices(planner: Planner) -> list[Variant]:
    """One training with the devices' losses alone: as their sections share nothing, each is trained by itself.

    None where the devices have no exit.
    """
    if Exit.LOCAL not in planner.exits:
        return []
    return [Variant("each device alone", training=_only("device"), measures=("exits", "votes"))]


def devices_results(planner: Planner) -> dict[str, Any] | None:
    """The best device, the votes, and by how much the joint network is above the better vote."""
    records = planner.records("separate_devices", *devices(planner))
    document = gathered(records)
    if not document:
        return None
    votes = values(records, lambda measures: measures["votes"] and measures["votes"]["bar"]["accuracy"])
    return {**document, "joint_above_vote": paired(values(planner.records("joint", JOINT), overall), votes)}


def uncut(planner: Planner) -> list[Variant]:
    """The uncut float network over all raw views: what a cloud would run if views cost nothing to send.

    None where views differ in shape, as nothing joins them. Over images its cloud does to each view what a device does,
    in float, then joins them in a block of `LAST` filters.
    """
    if len({(view.shape, view.dtype) for view in planner.network.views}) > 1:
        return []
    before: tuple[Changes, ...] = (RAW,)
    if all(len(view.shape) == 3 for view in planner.network.views):
        device = planner.network.config.device.filters
        filters = [*(planner.devices * width for width in device), LAST]
        before = (RAW, Changes(network={"cloud": {"flat": False, "apart": len(device), "filters": filters}}))
    return [Variant("uncut float network", before=before, measures=("exits", "confidence", "one_lost", "jpeg"))]


def uncut_results(planner: Planner) -> dict[str, Any] | None:
    """Its measures, and the paired difference of the joint network's overall accuracy to it."""
    records = planner.records("uncut", *uncut(planner))
    document = gathered(records)
    if not document:
        return None
    joint = values(planner.records("joint", JOINT), overall)
    return {**document, "joint_above": paired(joint, values(records, overall))}


def exits(planner: Planner) -> list[Variant]:
    """One training for each fused exit, with its loss alone; none where there is only one exit."""
    fused = planner.exits if len(planner.exits) > 1 else ()
    return [Variant(f"{exit} exit alone", training=_only(exit.value), measures=("exits", "scores")) for exit in fused]


def exits_results(planner: Planner) -> dict[str, Any] | None:
    """Accuracy of each exit trained alone, and the paired difference joint − separate, of each exit and overall."""
    joint, document = planner.records("joint", JOINT), dict[str, Any]()
    folders: dict[Replicate, dict[str, Path]] = {}
    for exit, variant in zip(planner.exits, exits(planner), strict=False):
        records = planner.records("separate_exits", variant)
        if records:
            alone, events = values(records, always(exit)), int(records[0].measures["exits"]["events"])
            difference = paired(values(joint, always(exit)), alone)
            document[exit.value] = {"accuracy": sampled(alone, events=events), "difference": difference}
        for record in records:
            folders.setdefault(record.job.replicate, {})[exit.value] = record.folder
    if not document:
        return None
    together: dict[Replicate, float] = {}
    for record in joint:
        parts = folders.get(record.job.replicate, {})
        if len(parts) == len(planner.exits):
            value = _together(record.folder, tuple(parts.items()), record.job.drop)
            if value is not None:
                together[record.job.replicate] = value
    difference = paired(values(joint, overall), together)
    return {"exits": document, "overall": {"accuracy": sampled(together, events=events), "difference": difference}}


@cache
def _together(joint: Path, parts: tuple[tuple[str, Path], ...], drop: float) -> float | None:
    """Accuracy on test of a fleet whose exits are separate networks, tuned like the joint one."""
    mixed = {}
    for split in ("validation", "test"):
        others: dict[str, Any] = {exit: getattr(kept_scores(folder, split), exit) for exit, folder in parts}
        mixed[split] = replace(kept_scores(joint, split), **others)
    try:
        policy = tune(mixed["validation"], Bundle.open(joint / "bundle").policy, max_accuracy_drop=drop)
    except (BadData, Infeasible):
        return None
    return decide(mixed["test"], policy).accuracy(mixed["test"].y)


def _only(exit: str) -> dict[str, float]:
    """Keys of `[training]` that let one exit learn alone, from labels alone."""
    weights = {weight: float(weight == f"{exit}_weight") for weight in WEIGHTS}
    alone: dict[str, float] = {**weights, "distil": 0.0}  # a cloud that learns nothing teaches nothing
    return alone if exit == Exit.CLOUD else {**alone, "patience": 0}  # nor is there anything to wait for
