"""The uncut float network over all raw views: what a cloud would run if views cost nothing to send."""

from typing import Any, Final

from ddnn_lab.studies.gather import gathered, paired, values
from ddnn_lab.studies.parts.joint import JOINT, overall
from ddnn_lab.studies.planner import Planner, Variant
from ddnn_lab.studies.study import Changes

__all__ = ["results", "variants"]

RAW: Final = Changes(
    network={
        "device_section": False,
        "edge_section": False,
        "blocks": "float",
        "edges": [],
        "shared_weights": False,
    },
    training={"device_dropout": 0.0},
)
"""The paper's configuration (a), trained for the case that all views are there."""

LAST: Final = 128
"""Filters of the block that sees all views."""


def variants(planner: Planner) -> list[Variant]:
    """One; none where views differ in shape, as nothing joins them.

    Over images its cloud does to each view what a device does, in float, then joins them in a block of `LAST` filters.
    """
    if len({(view.shape, view.uint8) for view in planner.plan.views}) > 1:
        return []
    images = all(len(view.shape) == 3 for view in planner.plan.views)
    device = planner.plan.config.device.filters
    filters = [*(planner.devices * each for each in device), LAST]
    cloud = Changes(network={"cloud": {"flat": False, "apart": len(device), "filters": filters}})
    before = (RAW, cloud) if images else (RAW,)
    return [Variant("uncut float network", before=before, measures=("exits", "confidence", "one_lost", "jpeg"))]


def results(planner: Planner) -> dict[str, Any] | None:
    """Its measures, and the paired difference of the joint network's overall accuracy to it."""
    records = [record for variant in variants(planner) for record in planner.records("uncut", variant)]
    found = gathered(records)
    if not found:
        return None
    joint = values(planner.records("joint", JOINT), overall)
    return {**found, "joint_above": paired(joint, values(records, overall))}
