"""`ddnn status`: the fleet at a glance."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddnn.cli.target import BasePort, BundleArgument, Json, Token, addresses, bundle_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

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
    """Show every tier of a running fleet: ready, bundle, policy, what it answered, its way up.

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
        Console(highlight=False).print(_table(glances))
        if not any(glance.status for glance in glances):
            typer.echo("No tier answers. `ddnn up` starts a fleet.", err=True)
    if not all(glance.ready for glance in glances):
        raise typer.Exit(1)


def _table(glances: "list[Glance]") -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for header in ("tier", "address", "state", "bundle", "policy", "requests", "answered at", "way up"):
        table.add_column(header, justify="right" if header == "requests" else "left")
    for glance in glances:
        table.add_row(*_row(glance))
    return table


def _row(glance: "Glance") -> tuple[str, ...]:
    said = glance.status
    address = glance.url.removeprefix("http://")
    if said is None:
        return glance.name, address, f"[red]{glance.problem}[/]", "", "", "", "", ""
    name = glance.name
    if name == glance.url:
        name = str(said.get("tier", "?")) + (f"-{said['index']}" if said.get("tier") == "device" else "")
    state = (
        "[green]ready[/]" if glance.ready else "[yellow]draining[/]" if said.get("draining") else "[red]not ready[/]"
    )
    policy = f"v{glance.policy_version}" if glance.policy_version is not None else "—"
    requests = f"{said.get('requests', 0):,}"
    return name, address, state, (glance.fingerprint or "—")[:12], policy, requests, _exits(said), _way_up(said)


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
    color = "green" if circuit == "closed" else "red"
    return f"[{color}]{circuit}[/]" + (f" {trip:.1f} ms" if trip else "")
