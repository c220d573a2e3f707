"""Manifests as version 0.1.0 wrote them."""

from pathlib import Path
from typing import Any

from ddnn.bundle import MANIFEST_FILE, Bundle
from ddnn.policy import Policy
from ddnn.seal import read_sealed, write_sealed
from ddnn.topology import Topology
from ddnn.types import Tier


def topology_of_format_1(topology: Topology) -> dict[str, Any]:
    """What was written of a topology of one edge and cuts of one bit."""
    files = {(spec.tier, spec.index, spec.role): spec.file for spec in topology.sections}
    cuts = {tier: topology.features(tier) for tier in (Tier.DEVICE, Tier.EDGE)}
    return {
        "devices": [
            {
                "section": files[Tier.DEVICE, index, "section"],
                "view": spec.view.model_dump(mode="json", include={"dtype", "shape"}),
            }
            for index, spec in enumerate(topology.devices)
        ],
        "edges": [
            {
                "devices": list(edge.devices),
                "local": files[Tier.EDGE, index, "local"],
                "section": files[Tier.EDGE, index, "section"],
            }
            for index, edge in enumerate(topology.edges)
        ],
        "cloud": files[Tier.CLOUD, 0, "section"],
        **{f"{tier}_cut": {"shape": list(cut.shape)} for tier, cut in cuts.items() if cut},
        "fusion": dict(topology.fusion),
    }


def write_as_format_1(bundle: Path, **topology: Any) -> None:
    """Write the manifest of a bundle anew, with some keys of its topology replaced, and its policy for it."""
    document = read_sealed(bundle / MANIFEST_FILE, "fingerprint")
    kept = {key: document[key] for key in ("classes", "files", "name", "training")}
    written = topology_of_format_1(Bundle.open(bundle).topology) | topology
    sealed = write_sealed(bundle / MANIFEST_FILE, {**kept, "format": 1, "topology": written}, "fingerprint")
    Policy(bundle=sealed).write(bundle)
