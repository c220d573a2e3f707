"""The compose file of a fleet: what `docker compose up` needs to run the tiers of a bundle's topology as containers."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ddnn.bundle import Bundle, shipped_as, shipped_bundle
from ddnn.errors import BadInput
from ddnn.fleet.addresses import edge_names, ports
from ddnn.pages import render
from ddnn.topology import Topology
from ddnn.types import Tier

__all__ = ["compose_file", "from_here"]

INSIDE: Final = 8000
"""Port that every container listens on."""
MOST: Final = {Tier.EDGE: 8, Tier.DEVICE: 32}
"""Tiers that the image has a folder for, where their certificates are mounted."""


@dataclass(frozen=True)
class Service:
    """A tier as a service of the file."""

    kind: Tier
    index: int
    name: str
    port: int
    """On this machine, if the environment names no other."""
    command: str
    after: str
    """The service that has to be up before."""

    @property
    def folder(self) -> str:
        """Of its certificate, in the site's."""
        return f"{self.kind}-{self.index}"

    @property
    def variable(self) -> str:
        """Of the environment, for another port."""
        return f"{self.name.upper().replace('-', '_')}_PORT"


def compose_file(bundle: Path | None = None, *, base_port: int = 8000, command: str = "ddnn deploy compose") -> str:
    """The file for the bundle in a folder, mounted read-only into every tier, or for a shipped one, which images have.

    `command` is told in it. Raises `BadInput` where the image has no room for so many tiers.
    """
    opened = Bundle.open(bundle or shipped_bundle())
    topology, shipped = opened.topology, bundle and shipped_as(bundle)
    for kind, count in ((Tier.EDGE, len(topology.edges)), (Tier.DEVICE, len(topology.devices))):
        if count > MOST[kind]:
            raise BadInput(
                f"the bundle has {count} {kind}s; expected at most {MOST[kind]} as containers of one machine"
            )
    tiers = list(_services(topology, base_port))
    values = {
        "name": f"{opened.manifest.name} {opened.fingerprint[:12]}",
        "command": command,
        "inside": (shipped or "/bundle") if bundle else "",
        "mount": f"${{DDNN_BUNDLE_DIR:-{from_here(bundle)}}}:/bundle:ro" if bundle and not shipped else "",
        "tiers": tiers,
        "devices": [tier for tier in tiers if tier.kind is Tier.DEVICE],
    }
    return render("compose.yml", values)


def _services(topology: Topology, base_port: int) -> Iterator[Service]:
    edges = edge_names(len(topology.edges))
    own = ports(base_port, len(topology.devices), len(topology.edges))
    yield Service(Tier.CLOUD, 0, "cloud", own["cloud"], "serve cloud", "identity")
    for index, name in enumerate(edges):
        which = f" --index {index}" if len(edges) > 1 else ""
        command = f"serve edge{which} --upstream https://cloud:{INSIDE}"
        yield Service(Tier.EDGE, index, name, own[name], command, "cloud")
    above = {device: name for name, edge in zip(edges, topology.edges, strict=True) for device in edge.devices}
    for index in range(len(topology.devices)):
        command = f"serve device --index {index} --upstream https://{above[index]}:{INSIDE}"
        yield Service(Tier.DEVICE, index, f"device-{index}", own[f"device-{index}"], command, above[index])


def from_here(path: Path) -> str:
    """As compose takes it: a path that begins with a dot or a slash, so that it is no volume's name."""
    return str(path) if path.is_absolute() else f"./{path}"
