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
    }
)
"""The paper's configuration (a)."""


def variants(planner: Planner) -> list[Variant]:
    """One; the part's own table says how large its cloud is. None where views differ in shape: nothing joins them."""
    if len({(view.shape, view.uint8) for view in planner.plan.views}) > 1:
        return []
    return [Variant("uncut float network", before=(RAW,), measures=("exits", "confidence", "one_lost", "jpeg"))]


def results(planner: Planner) -> dict[str, Any] | None:
    """Its measures, and the paired difference of the joint network's overall accuracy to it."""
    records = [record for variant in variants(planner) for record in planner.records("uncut", variant)]
    found = gathered(records)
    if not found:
        return None
    joint = values(planner.records("joint", JOINT), overall)
    return {**found, "joint_above": paired(joint, values(records, overall))}
