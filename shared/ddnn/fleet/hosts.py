"""A site of several machines: a folder for each with what its tiers need, to be run as containers or by systemd."""

import shutil
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import Final

from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.fleet.addresses import edge_names, ports
from ddnn.fleet.site import furnish
from ddnn.pages import render
from ddnn.slices import slice_bundle
from ddnn.topology import Topology
from ddnn.types import Tier

__all__ = ["AUTHORITY", "HostedTier", "hosted", "write_site"]

AUTHORITY: Final = "site"  #: folder of the site's authority, which stays where the files were written
_MADE_BY: Final = "`ddnn deploy site` wrote it"
INSIDE: Final = 8000  #: port that every container listens on


@dataclass(frozen=True)
class HostedTier:
    """A tier and the machine that it runs on."""

    tier: Tier
    index: int
    name: str
    """`cloud`, `edge` (`edge-0` … when there are several), `device-0` …"""
    host: str
    """Address of its machine, where it listens."""
    port: int
    above: str = ""
    """Address of the tier above; none of the cloud."""

    @property
    def folder(self) -> str:
        """Of its files, in its host's."""
        return f"{self.tier}-{self.index}"

    @property
    def netloc(self) -> str:
        """Where it is reached."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The same, as an address."""
        return f"https://{self.netloc}"

    def environment(self, at: PurePosixPath) -> dict[str, str]:
        """Its settings, with its files in the folder `at`."""
        own = at / self.folder
        return {
            "DDNN_BUNDLE": str(own / "bundle"),
            "DDNN_INDEX": str(self.index),
            **({"DDNN_UPSTREAM": self.above} if self.above else {}),
            "DDNN_HOST": self.host,
            "DDNN_PORT": str(self.port),
            "DDNN_IDENTITY": str(own / "identity"),
            "DDNN_STATE_DIR": str(own / "state"),
            "DDNN_AUDIT_DIR": str(own / "state"),
        }


def hosted(
    topology: Topology, *, cloud: str, edges: Sequence[str], devices: Sequence[str], base_port: int = 8000
) -> list[HostedTier]:
    """The tiers of a network on machines of these addresses, the cloud first; raise `BadInput` for what does not fit.

    One address for several devices, or edges, is that of all.
    """
    at_edges = _each("--edge", edges, len(topology.edges))
    at_devices = _each("--device", devices, len(topology.devices))
    for address in (cloud, *at_edges, *at_devices):
        _check(address)
    own, names = ports(base_port, len(topology.devices), len(topology.edges)), edge_names(len(topology.edges))
    top = HostedTier(Tier.CLOUD, 0, "cloud", cloud, own["cloud"])
    middle = [
        HostedTier(Tier.EDGE, index, name, host, own[name], top.url)
        for index, (name, host) in enumerate(zip(names, at_edges, strict=True))
    ]
    below = [
        HostedTier(Tier.DEVICE, n, f"device-{n}", host, own[f"device-{n}"], middle[topology.edge_of(n)].url)
        for n, host in enumerate(at_devices)
    ]
    return [top, *middle, *below]


def write_site(out: Path, bundle: Bundle, tiers: Sequence[HostedTier], at: PurePosixPath) -> Mapping[str, int]:
    """Write a folder for each host into `out`, with certificates of the authority in `out`/site; bytes of each.

    On its host a folder is `at`. Again, it renews what is due, leaves the authority as it is, and takes away what it
    wrote for tiers that are on another machine now.
    """
    _clear(out, {(each.host.replace(":", "-"), each.folder, each.name) for each in tiers})
    authority = out / AUTHORITY
    authority.mkdir(parents=True, exist_ok=True)
    furnish(authority, bundle.topology, addresses={each.folder: [each.host] for each in tiers})
    sizes, called = {}, f"{bundle.manifest.name} {bundle.fingerprint[:12]}"
    for host in dict.fromkeys(each.host for each in tiers):
        folder, mine = out / host.replace(":", "-"), [each for each in tiers if each.host == host]
        for each in mine:
            _write_tier(folder / each.folder, bundle, authority, each, at)
            unit = render("tier.service", {"tier": each, "at": at, "bundle": called})
            (folder / f"ddnn-{each.name}.service").write_text(unit)
        values = {"tiers": mine, "host": host, "bundle": called, "inside": INSIDE}
        (folder / "docker-compose.yml").write_text(render("host.yml", values))
        sizes[host] = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return sizes


def _clear(out: Path, wanted: Set[tuple[str, str, str]]) -> None:
    """Take away what an earlier `write_site` wrote that is not wanted: no key lies where nobody looks for it."""
    for settings in [*out.glob("*/*/tier.env")]:
        folder = settings.parent
        host, tier = folder.parent.name, folder.name
        if not any((host, tier) == each[:2] for each in wanted):
            shutil.rmtree(folder)
    hosts, units = {host for host, _, _ in wanted}, {(host, f"ddnn-{name}.service") for host, _, name in wanted}
    for unit in [*out.glob("*/ddnn-*.service")]:
        if (unit.parent.name, unit.name) not in units:
            unit.unlink()
    for compose in [*out.glob("*/docker-compose.yml")]:
        if compose.parent.name not in hosts and _MADE_BY in compose.read_text():
            compose.unlink()
            with suppress(OSError):  # what a person has put there stays
                compose.parent.rmdir()


def _write_tier(folder: Path, bundle: Bundle, authority: Path, tier: HostedTier, at: PurePosixPath) -> None:
    for part in ("bundle", "identity"):
        shutil.rmtree(folder / part, ignore_errors=True)
    slice_bundle(bundle, tier.tier, tier.index, folder / "bundle")
    shutil.copytree(authority / tier.folder, folder / "identity")
    (folder / "state").mkdir(exist_ok=True)
    settings = [f"{name}={value}" for name, value in tier.environment(at).items()]
    (folder / "tier.env").write_text("\n".join(settings) + "\n")


def _each(flag: str, given: Sequence[str], count: int) -> Sequence[str]:
    if len(given) not in (1, count):
        raise BadInput(f"{flag} is given {len(given)} times; expected once for all, or {count} times, one each")
    return list(given) * count if len(given) == 1 else given


def _check(address: str) -> None:
    try:
        found = ip_address(address)
    except ValueError:
        raise BadInput(
            f"{address[:60]!r} is no IP address; expected that of a machine, where its tier listens"
        ) from None
    if found.is_unspecified:
        raise BadInput(f"{address} is every address of a machine; expected the one that the others reach it by")
