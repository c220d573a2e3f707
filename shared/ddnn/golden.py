"""The golden events as a self-test: do this bundle's sections still answer as torch did?"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from ddnn.bundle import Bundle, Cut, Topology
from ddnn.errors import BadBundle
from ddnn.runtime import Section
from ddnn.types import Array, Bits, Bools, Tier, unpack_bits

__all__ = ["TOLERANCE", "check_sections", "section_inputs"]

TOLERANCE: Final = 1e-4
"""Largest difference of a score, and distance from zero within which a bit may differ."""


def check_sections(
    bundle: Bundle, tier: Tier, index: int, sections: Mapping[str, Section], events: int | None = None
) -> int:
    """Run the first `events` golden events (None = all) through a tier's sections, each on torch's own inputs.

    Return how many were run, 0 by a tier that only passes things on; raise `BadBundle` naming the section, the event
    and by how much it is off.
    """
    if not sections:
        return 0
    golden = {name: array[:events] for name, array in bundle.golden.items()}
    topology, present = bundle.topology, golden["present"].astype(np.bool_)
    inputs = _inputs(topology, golden, tier, index)
    outputs = {role: section.run(**inputs[role]) for role, section in sections.items()}
    if tier is Tier.DEVICE:
        _same(sections["section"], outputs["section"], golden, "device", index, present[:, index])
    elif tier is Tier.EDGE:
        some = np.asarray(present[:, topology.edges[index].devices].any(axis=1))
        for role, exit in (("local", "local"), ("section", "edge")):
            if role in sections:
                _same(sections[role], outputs[role], golden, exit, index, some)
    else:
        _same(sections["section"], outputs["section"], golden, "cloud", None, np.asarray(present.any(axis=1)))
    return len(present)


def section_inputs(bundle: Bundle, tier: Tier, index: int = 0) -> dict[str, dict[str, Array]]:
    """What each section of a tier takes, by role, of all golden events: torch's own outputs below it."""
    return _inputs(bundle.topology, bundle.golden, tier, index)


def _inputs(topology: Topology, golden: Mapping[str, Array], tier: Tier, index: int) -> dict[str, dict[str, Array]]:
    present = golden["present"].astype(np.bool_)
    if tier is Tier.DEVICE:
        return {"section": {"view": golden[f"view_{index}"]}}
    if topology.raw:
        views = np.stack([golden[f"view_{i}"] for i in range(len(topology.devices))], axis=1)
        return {"section": {"view": views, "present": present}}
    if tier is Tier.EDGE:
        devices = list(topology.edges[index].devices)
        mask, bits = present[:, devices], _bits(golden["device_features"][:, devices], topology.device_cut)
        local = {"scores": golden["device_scores"][:, devices], "present": mask}
        return {"local": local, "section": {"features": bits, "present": mask}}
    source, mask = ("edge", _edges_present(topology, present)) if topology.edge_cut else ("device", present)
    return {"section": {"features": _bits(golden[f"{source}_features"], topology.cloud_cut), "present": mask}}


def _bits(packed: Array, cut: Cut | None) -> Bits:
    if cut is None:
        raise AssertionError("a network with features has a cut")
    return unpack_bits(packed, cut.bits)


def _edges_present(topology: Topology, present: Bools) -> Bools:
    return np.stack([present[:, list(edge.devices)].any(axis=1) for edge in topology.edges], axis=1)


def _same(
    section: Section,
    outputs: Mapping[str, Array],
    golden: Mapping[str, Array],
    exit: str,
    index: int | None,
    rows: Bools,
) -> None:
    want = golden[f"{exit}_scores"] if index is None else golden[f"{exit}_scores"][:, index]
    off = np.abs(outputs["scores"] - want).max(axis=-1) * rows
    if off.size and not off.max() <= TOLERANCE:
        raise BadBundle(
            f"{section.file.name}: scores of golden event {off.argmax()} are off by {off.max():.2g};"
            f" expected at most {TOLERANCE:g} from what torch gave"
        )
    if "features" in outputs and f"{exit}_features" in golden:
        bits = outputs["features"]
        packed: tuple[Bits, Bits] = (golden[f"{exit}_features"][:, index], golden[f"{exit}_ties"][:, index])
        torch_bits, ties = (unpack_bits(part, bits.shape[-1]) for part in packed)
        wrong = ((bits != torch_bits) & (ties == 0)).any(axis=-1) & rows
        if wrong.any():
            raise BadBundle(
                f"{section.file.name}: features of golden event {wrong.argmax()} differ from what torch gave"
            )
