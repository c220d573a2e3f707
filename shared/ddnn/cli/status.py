"""`ddnn status`: the fleet at a glance."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddnn.cli.target import BasePort, BundleArgument, Json, Token, addresses, bundle_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from ddnn.fleet.glance import Glance

__all__ = ["status"]

Urls = Annotated[list[str] | None, typer.Option("--url", metavar="URL", help="Address of a tier, instead of a port.")]


def status(
    bundle: BundleArgument = None,
    base_port: BasePort = 8000,
    url: Urls = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show every tier of a running fleet: ready, bundle, policy, what it answered, its way up, its audits.

    Exit code 1 when a tier is not ready.

    Example: `ddnn status`, `ddnn status --base-port 9000`, `ddnn status --url http://10.0.0.7:8010`
    """
    from rich.console import Console

    from ddnn.bundle import Bundle
    from ddnn.fleet.glance import fleet_urls, look

    given = addresses(url or ())
    urls = {each: each for each in given} or fleet_urls(base_port, Bundle.open(bundle_path(bundle)))
    glances = look(urls, token)
    if as_json:
        typer.echo(json.dumps({"tiers": [glance.document() for glance in glances]}, indent=1))
    else:
        _print(glances, Console(highlight=False))
    if not all(glance.ready for glance in glances):
        raise typer.Exit(1)


def _print(glances: "Sequence[Glance]", console: "Console") -> None:
    from rich.table import Table

    from ddnn.fleet.audits import audit_line
    from ddnn.fleet.glance import NOBODY

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for header in ("tier", "address", "state", "requests", "answered at", "way up"):
        folds = header == "answered at"
        table.add_column(header, justify="right" if header == "requests" else "left", no_wrap=not folds)
    for glance in glances:
        table.add_row(*_row(glance))
    console.print(table)
    for network, names in _networks(glances).items():
        console.print(f"\n{', '.join(names)}: {network}", soft_wrap=True, markup=False)
    for glance in glances:
        if line := audit_line(glance.status or {}):
            console.print(f"{glance.name} {line}", soft_wrap=True)
    for glance in glances:
        if glance.problem and glance.listens:
            console.print(f"{glance.name}: {glance.problem}", soft_wrap=True, markup=False)
    if not any(glance.listens for glance in glances):
        console.print(NOBODY, markup=False)


def _networks(glances: "Sequence[Glance]") -> dict[str, list[str]]:
    """Which tiers serve which bundle under which policy; one entry when all agree."""
    said: dict[str, list[str]] = {}
    for glance in glances:
        if glance.status is not None and glance.fingerprint:
            name = glance.status["bundle"].get("name", "")
            network = f"bundle {name} {glance.fingerprint[:12]}, policy version {glance.policy_version}"
            said.setdefault(network, []).append(glance.name)
    return {network: ["all"] for network in said} if len(said) == 1 else said


def _row(glance: "Glance") -> tuple[str, ...]:
    said = glance.status
    address = glance.url.removeprefix("http://")
    if said is None:
        return glance.name, address, f"[red]{'no answer' if glance.listens else 'not there'}[/]", "—", "—", "—"
    name = glance.name
    if name == glance.url:
        name = str(said.get("tier", "?")) + (f"-{said['index']}" if said.get("tier") in ("device", "edge") else "")
    state = (
        "[green]ready[/]" if glance.ready else "[yellow]draining[/]" if said.get("draining") else "[red]not ready[/]"
    )
    return name, address, state, f"{said.get('requests', 0):,}", _exits(said), _way_up(said)


def _exits(said: "Mapping[str, Any]") -> str:
    counts = {exit: count for exit, count in (said.get("exits") or {}).items() if count}
    total = sum(counts.values())
    shares = " · ".join(f"{exit} {count / total:.0%}" for exit, count in counts.items())
    degraded = said.get("degraded", 0)
    return (shares or "—") + (f"  [yellow]{degraded:,} degraded[/]" if degraded else "")


def _way_up(said: "Mapping[str, Any]") -> str:
    uplink = said.get("uplink")
    if not uplink:
        return "—"
    circuit, trip = uplink.get("circuit", "?"), uplink.get("round_trip_ms")
    shown = "[green]ok[/]" if circuit == "closed" else f"[red]{circuit}[/]"
    return shown + (f" {trip:.1f} ms" if trip else "")
