"""Trained apart: every device for itself, and every exit for itself."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from ddnn.bundle import Bundle
from ddnn.errors import BadData, Infeasible
from ddnn.evaluation import decide
from ddnn.tuning import tune
from ddnn.types import Exit
from ddnn_lab.studies.gather import Place, gathered, paired, sampled, values
from ddnn_lab.studies.measures.kept import kept_scores
from ddnn_lab.studies.parts.joint import JOINT, overall
from ddnn_lab.studies.planner import Planner, Variant

__all__ = ["devices", "devices_results", "exits", "exits_results"]

WEIGHTS: Final = ("device_weight", "local_weight", "edge_weight", "cloud_weight")


def devices(planner: Planner) -> list[Variant]:
    """One training with the devices' losses alone: as their sections share nothing, each is trained by itself.

    None where the devices have no exit.
    """
    if Exit.LOCAL not in planner.exits:
        return []
    return [Variant("each device alone", training=_only("device"), measures=("exits", "votes"))]


def devices_results(planner: Planner) -> dict[str, Any] | None:
    """The best device, the votes, and by how much the joint network is above the better vote."""
    records = [record for variant in devices(planner) for record in planner.records("separate_devices", variant)]
    found = gathered(records)
    if not found:
        return None
    joint = values(planner.records("joint", JOINT), overall)
    votes = values(records, lambda measures: measures["votes"] and measures["votes"]["bar"]["accuracy"])
    return {**found, "joint_above_vote": paired(joint, votes)}


def exits(planner: Planner) -> list[Variant]:
    """One training for each fused exit, with its loss alone; none where there is only one exit."""
    there = planner.exits
    return [
        Variant(f"{exit} exit alone", training=_only(exit.value), measures=("exits", "scores"))
        for exit in (there if len(there) > 1 else ())
    ]


def exits_results(planner: Planner) -> dict[str, Any] | None:
    """Accuracy of each exit trained alone, and the paired difference joint − separate, of each exit and overall."""
    joint = planner.records("joint", JOINT)
    found: dict[str, Any] = {}
    folders: dict[str, dict[Place, Path]] = {}
    for exit, variant in zip(planner.exits, exits(planner), strict=False):
        records = planner.records("separate_exits", variant)

        def right(measures: Mapping[str, Any], exit: Exit = exit) -> float:
            return float(measures["exits"]["always"][exit.value]["accuracy"])

        alone = values(records, right)
        if alone:
            events = int(records[0].measures["exits"]["events"])
            found[exit.value] = {
                "accuracy": sampled(alone, events=events),
                "difference": paired(values(joint, right), alone),
            }
            folders[exit.value] = {record.job.place: record.folder for record in records}
    if not found:
        return None
    together: dict[Place, float] = {}
    for record in joint if len(folders) == len(planner.exits) else ():
        parts = [(exit, folder[record.job.place]) for exit, folder in folders.items() if record.job.place in folder]
        value = _together(record.folder, tuple(parts), record.job.drop) if len(parts) == len(folders) else None
        if value is not None:
            together[record.job.place] = value
    difference = paired(values(joint, overall), together)
    return {"exits": found, "overall": {"accuracy": sampled(together, events=events), "difference": difference}}


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
