"""The uncut float network over all raw views: what a cloud would run if views cost nothing to send."""

from typing import Any, Final

from ddnn.bench.gather import gathered, paired, values
from ddnn.bench.parts.joint import JOINT, overall
from ddnn.bench.planner import Planner, Variant
from ddnn.bench.study import Changes

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

IMAGES: Final = Changes(network={"cloud": {"flat": False}})
"""A cloud that sees pixels is best served by convolutions, whatever ours is over bits."""


def variants(planner: Planner) -> list[Variant]:
    """One; the part's own table says how large its cloud is. None where views differ in shape: nothing joins them."""
    if len({(view.shape, view.uint8) for view in planner.plan.views}) > 1:
        return []
    images = all(len(view.shape) == 3 for view in planner.plan.views)
    before = (RAW, IMAGES) if images else (RAW,)
    return [Variant("uncut float network", before=before, measures=("exits", "confidence", "one_lost", "jpeg"))]


def results(planner: Planner) -> dict[str, Any] | None:
    """Its measures, and the paired difference of the joint network's overall accuracy to it."""
    records = [record for variant in variants(planner) for record in planner.records("uncut", variant)]
    found = gathered(records)
    if not found:
        return None
    joint = values(planner.records("joint", JOINT), overall)
    return {**found, "joint_above": paired(joint, values(records, overall))}
