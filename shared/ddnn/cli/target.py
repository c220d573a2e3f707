"""What several commands are told in the same way: which bundle, which addresses, which token."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddnn.errors import BadInput

if TYPE_CHECKING:
    from ddnn.bundle import Bundle
    from ddnn.fleet.glance import Glance
    from ddnn.topology import Topology

__all__ = [
    "BasePort",
    "BundleArgument",
    "Devices",
    "Json",
    "Token",
    "addresses",
    "bundle_path",
    "command_name",
    "device_addresses",
    "look_at_devices",
]

BundleArgument = Annotated[
    Path | None, typer.Argument(metavar="[BUNDLE]", help="Folder of a bundle; the shipped six-device one by default.")
]
BasePort = Annotated[
    int, typer.Option(min=0, max=65535, help="Port of the cloud; edges follow from +1, devices from +10.")
]
Devices = Annotated[
    list[str] | None,
    typer.Option("--device", metavar="URL", help="Address of a device; once for each, in order, or comma-separated."),
]
Token = Annotated[
    str | None, typer.Option(envvar="DDNN_TOKEN", show_envvar=True, help="Bearer token the tiers demand.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else.")]


def bundle_path(given: Path | None) -> Path:
    """The bundle a person named, else the one that ships with the package."""
    if given is not None:
        return given
    from ddnn.bundle import shipped_bundle

    return shipped_bundle()


def command_name() -> str:
    """`ddnn` as it can be typed here: with its path when that is how it was called."""
    return sys.argv[0] if Path(sys.argv[0]).name == "ddnn" else "ddnn"


def addresses(given: Sequence[str]) -> list[str]:
    """Addresses out of repeated or comma-separated flags; raise `BadInput` for what is none."""
    urls = [part.strip().rstrip("/") for value in given for part in value.split(",") if part.strip()]
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise BadInput(f"{url!r} is not an address; expected one like http://127.0.0.1:8010")
    return urls


def device_addresses(given: Sequence[str] | None, base_port: int, topology: "Topology") -> list[str]:
    """The addresses a person gave, else those of `ddnn up --base-port`; raise `BadInput` if some are missing."""
    from ddnn.fleet.ports import HOST, ports

    devices = len(topology.devices)
    urls = addresses(given or ())
    if not urls:
        by_name = ports(base_port, devices, len(topology.edges))
        return [f"http://{HOST}:{by_name[f'device-{index}']}" for index in range(devices)]
    if len(urls) != devices:
        raise BadInput(f"{len(urls)} --device addresses given; the bundle has {devices} devices")
    return urls


def look_at_devices(urls: Sequence[str], bundle: "Bundle", token: str | None, flag: str) -> "list[Glance]":
    """What the devices say of themselves; raise `BadInput` naming `flag` if none of them serves `bundle`."""
    from ddnn.fleet.glance import look

    glances = look({url: url for url in urls}, token)
    served = {glance.fingerprint: glance.status or {} for glance in glances if glance.fingerprint}
    if served and bundle.fingerprint not in served:
        fingerprint, status = next(iter(served.items()))
        name = (status.get("bundle") or {}).get("name", "another bundle")
        raise BadInput(
            f"this fleet serves {name} ({str(fingerprint)[:12]}), not"
            f" {bundle.manifest.name} ({bundle.fingerprint[:12]}); give {flag}"
        )
    return glances
