"""What of a bundle concerns one tier: its sections, and the golden events that it has a use for."""

from collections.abc import Collection, Mapping
from typing import Final

from ddnn.errors import BadInput
from ddnn.topology import Topology
from ddnn.types import Array, Tier

__all__ = ["GOLDEN_FILE", "files_of", "golden_of", "golden_parts", "tier_named", "tiers_of", "views_of"]

GOLDEN_FILE: Final = "golden.npz"  #: of all tiers
_DEVICE_EVENTS: Final = 12  #: golden events of a device: what it tests itself by


def tiers_of(topology: Topology) -> list[tuple[Tier, int]]:
    """Every tier of a network, cloud first."""
    edges = [(Tier.EDGE, index) for index in range(len(topology.edges))]
    return [(Tier.CLOUD, 0), *edges, *((Tier.DEVICE, index) for index in range(len(topology.devices)))]


def tier_named(name: str, topology: Topology) -> tuple[Tier, int]:
    """The tier that a person calls `cloud`, `edge`, `edge-1` or `device-0`; raise `BadInput`."""
    tiers = tiers_of(topology)
    one = [tier for tier, index in tiers if index == 0 and (tier, 1) not in tiers]
    known = {f"{tier}-{index}": (tier, index) for tier, index in tiers} | {tier.value: (tier, 0) for tier in one}
    if name not in known:
        raise BadInput(f"the tier is {name[:40]!r}; expected one of {', '.join(known)}")
    return known[name]


def views_of(topology: Topology, tier: Tier, index: int) -> tuple[int, ...]:
    """Devices whose views a tier takes."""
    if tier is Tier.DEVICE:
        return (index,)
    above = (section for section in topology.sections if section.tier is not Tier.DEVICE)
    if not any(given.what == "view" for section in above for given in section.inputs):
        return ()
    return topology.edges[index].devices if tier is Tier.EDGE else tuple(range(len(topology.devices)))


def golden_of(tier: Tier, index: int, files: Collection[str]) -> str:
    """The file of those listed with the golden events of a tier; all tiers' where there are none of its own."""
    own = _part(tier, index)
    return own if own in files else GOLDEN_FILE


def golden_parts(topology: Topology, golden: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """The golden events that each tier has a use for, by the name of their file.

    The views that it takes, and what all exits said; a device's are the first few. Above devices no tier that takes
    all views has a file of its own: it would be the whole once more.
    """
    parts = {}
    for tier, index in tiers_of(topology):
        seen = views_of(topology, tier, index)
        if tier is not Tier.DEVICE and len(seen) == len(topology.devices):
            continue
        events = slice(0, _DEVICE_EVENTS if tier is Tier.DEVICE else None)
        parts[_part(tier, index)] = {
            name: array[events]
            for name, array in golden.items()
            if not name.startswith(("view_", "photograph_")) or int(name.partition("_")[2]) in seen
        }
    return parts


def files_of(topology: Topology, tier: Tier, index: int, files: Collection[str]) -> list[str]:
    """The files, of those listed, that a tier needs."""
    sections = [section.file for section in topology.sections_of(tier, index)]
    return [*dict.fromkeys(sections), golden_of(tier, index, files)]


def _part(tier: Tier, index: int) -> str:
    return f"golden-{tier}-{index}.npz"
