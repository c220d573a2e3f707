"""Options that several commands have, and what they mean: which bundle, which addresses, which token."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "BasePort",
    "BundleArgument",
    "Count",
    "Devices",
    "Json",
    "Rate",
    "Token",
    "Urls",
    "bundle_path",
    "command_name",
    "print_json",
    "tier_addresses",
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
Urls = Annotated[
    list[str] | None,
    typer.Option("--url", metavar="URL", help="Address of a tier instead of a port; once for each, the cloud too."),
]
Token = Annotated[
    str | None, typer.Option(envvar="DDNN_TOKEN", show_envvar=True, help="Bearer token the tiers demand.")
]
Count = Annotated[int | None, typer.Option(min=0, help="How many events; each once by default, 0 = without end.")]
Rate = Annotated[
    float | None, typer.Option(min=0.001, help="Events a second; by default the next when the last was answered.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else.")]


def bundle_path(given: Path | None) -> Path:
    """The bundle a person named, else the one that ships with the package."""
    if given is not None:
        return given
    from ddnn.bundle import shipped_bundle

    return shipped_bundle()


def tier_addresses(given: Sequence[str] | None, base_port: int, bundle: Path | None = None) -> Mapping[str, str]:
    """By name, the addresses a person gave, else those of the fleet that runs on `base_port`."""
    from ddnn.bundle import Bundle
    from ddnn.fleet.addresses import parse_addresses
    from ddnn.fleet.status import running_addresses

    urls = parse_addresses(given or ())
    return {url: url for url in urls} or running_addresses(base_port, Bundle.open(bundle_path(bundle)).topology)


def command_name() -> str:
    """`ddnn` as it can be typed here: with its path when that is how it was called."""
    return sys.argv[0] if Path(sys.argv[0]).name == "ddnn" else "ddnn"


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print what `--json` promises."""
    typer.echo(json.dumps(document, indent=1))
