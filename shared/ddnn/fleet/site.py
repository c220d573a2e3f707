"""A site's authority for the tiers of one bundle."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from ddnn.errors import BadInput
from ddnn.fleet.addresses import edge_names
from ddnn.identity.authority import Authority, Issued
from ddnn.topology import Topology
from ddnn.types import Tier

__all__ = ["DAYS", "furnish"]

DAYS = 30.0  #: a certificate's life


def furnish(
    folder: Path,
    topology: Topology,
    *,
    site: str = "site",
    hosts: Sequence[str] = (),
    addresses: Mapping[str, Sequence[str]] = MappingProxyType({}),
    days: float = DAYS,
    only: Collection[str] = (),
) -> list[Issued]:
    """Make the authority in `folder` if it has none, and what is missing, due or without an address that is given.

    A tier that was revoked gets none. Callers may reach all by `hosts` too, and `device-3` by its `addresses`. Where
    `only` names tiers, the others get none; raise `BadInput` for a name that no tier has.
    """
    tiers = {f"{tier}-{index}": (tier, index, name) for tier, index, name in _tiers(topology)}
    if unknown := [name for name in only if name not in tiers]:
        raise BadInput(f"there is no tier {unknown[0]}; expected one of {', '.join(tiers)}")
    authority = Authority(folder) if Authority.exists(folder) else Authority.create(folder, site)
    made = []
    for which in only or tiers:
        tier, index, name = tiers[which]
        held = authority.shown.get(which)
        wanted = [*hosts, *addresses.get(which, ()), name]
        if held is None or not (held.revoked or {*wanted} <= {*held.hosts}):
            made.append(authority.issue(tier, index, wanted, days=days))
        elif held.due and not held.revoked:
            made += authority.rotate([held.folder], days=days)
    return made


def _tiers(topology: Topology) -> Iterator[tuple[Tier, int, str]]:
    """Each tier with the name that a fleet has for it."""
    yield Tier.CLOUD, 0, "cloud"
    for index, name in enumerate(edge_names(len(topology.edges))):
        yield Tier.EDGE, index, name
    for index in range(len(topology.devices)):
        yield Tier.DEVICE, index, f"device-{index}"
