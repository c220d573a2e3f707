"""The golden events as a self-test: do this bundle's sections still answer as torch did?"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from ddnn.bundle import Bundle, Cut
from ddnn.errors import BadBundle
from ddnn.runtime import Section
from ddnn.tier import Tier
from ddnn.types import Array, Bits, Bools, unpack_bits

__all__ = ["TOLERANCE", "check_sections"]

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
    if tier is Tier.DEVICE:
        seen = present[:, index]
        outputs = sections["section"].run(view=golden[f"view_{index}"])
        _same(sections["section"], outputs, golden, "device", index, seen)
    elif tier is Tier.EDGE:
        devices = list(topology.edges[index].devices)
        mask = present[:, devices]
        some = np.asarray(mask.any(axis=1))
        outputs = sections["local"].run(scores=golden["device_scores"][:, devices], present=mask)
        _same(sections["local"], outputs, golden, "local", index, some)
        if "section" in sections:
            bits = _bits(golden["device_features"][:, devices], topology.device_cut)
            outputs = sections["section"].run(features=bits, present=mask)
            _same(sections["section"], outputs, golden, "edge", index, some)
    else:
        source, mask = ("edge", _edges_present(bundle, present)) if topology.edge_cut else ("device", present)
        if topology.raw:
            inputs = {"view": np.stack([golden[f"view_{i}"] for i in range(len(topology.devices))], axis=1)}
        else:
            inputs = {"features": _bits(golden[f"{source}_features"], topology.cloud_cut)}
        outputs = sections["section"].run(**inputs, present=mask)
        _same(sections["section"], outputs, golden, "cloud", None, np.asarray(mask.any(axis=1)))
    return len(present)


def _bits(packed: Array, cut: Cut | None) -> Bits:
    if cut is None:
        raise AssertionError("a network with features has a cut")
    return unpack_bits(packed, cut.bits)


def _edges_present(bundle: Bundle, present: Bools) -> Bools:
    return np.stack([present[:, list(edge.devices)].any(axis=1) for edge in bundle.topology.edges], axis=1)


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
