"""The status view: tiers as a table, then bundle and policy, audits, and what is wrong."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from ddnn.fleet.status import NO_TIER, TierStatus
from ddnn.formatting import percent

__all__ = ["audit_line", "plain_table", "print_statuses"]


def plain_table(*headers: str) -> Table:
    """A table without lines."""
    return Table(
        *headers, box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0), show_header=bool(headers)
    )


def print_statuses(tiers: Sequence[TierStatus], console: Console) -> None:
    """Print what every tier says of itself."""
    table = plain_table("tier", "address", "state", "requests", "answered at", "uplink")
    for column in table.columns:
        column.no_wrap = column.header != "answered at"
    table.columns[3].justify = "right"
    for tier in tiers:
        table.add_row(*_row(tier))
    console.print(table)
    for network, names in _networks(tiers).items():
        console.print(f"\n{', '.join(names)}: {network}", soft_wrap=True, markup=False)
    for tier in tiers:
        if line := audit_line(tier.part("audits")):
            console.print(f"{tier.name} {line}", soft_wrap=True)
    for tier in tiers:
        if tier.problem and tier.listens:
            console.print(f"{tier.name}: {tier.problem}", soft_wrap=True, markup=False)
    if not any(tier.listens for tier in tiers):
        console.print(NO_TIER, markup=False)


def audit_line(audits: Mapping[str, Any]) -> str | None:
    """The `audits` of a tier's status as rich markup, red where an alarm is; None when there is nothing to say."""
    share = audits.get("share") or 0
    audited = {exit: seen for exit, seen in (audits.get("exits") or {}).items() if seen.get("audited")}
    if audits.get("off"):
        return f"no audits: {audits['off']}" if share else None
    if not audited:
        return f"audits {percent(share)} of its sure answers; none yet" if share else None
    return "audits: " + " · ".join(_audited(exit, seen) for exit, seen in audited.items())


def _audited(exit: str, seen: Mapping[str, Any]) -> str:
    differ, promised, alarm = seen["disagreement"], seen.get("promised"), seen.get("alarm")
    text = f"{exit} {percent(differ['share'])} unlike the cloud ({percent(differ['low'])} to {percent(differ['high'])}"
    text += f", {seen['audited']:,} audited)"
    if promised is not None:
        text += f", promised {percent(promised)}"
    if (distance := seen["confidence"].get("distance")) is not None:
        text += f", confidences {distance:.2f} from the usual"
    if alarm is None:
        return text
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(alarm["since"]))
    return f"[red]{text}, alarm since {since} UTC[/]"


def _networks(tiers: Sequence[TierStatus]) -> dict[str, list[str]]:
    """Which tiers serve which bundle under which policy; one entry when all agree."""
    networks: dict[str, list[str]] = {}
    for tier in tiers:
        if tier.fingerprint:
            name = tier.part("bundle").get("name", "")
            network = f"bundle {name} {tier.fingerprint[:12]}, policy version {tier.policy_version}"
            networks.setdefault(network, []).append(tier.name)
    return {network: ["all"] for network in networks} if len(networks) == 1 else networks


def _row(tier: TierStatus) -> tuple[str, ...]:
    name, address, status = tier.name, tier.url.removeprefix("http://"), tier.status
    if status is None:
        return name, address, f"[red]{'no answer' if tier.listens else 'not there'}[/]", "—", "—", "—"
    if name == tier.url:
        name = str(status.get("tier", "?")) + (
            f"-{status['index']}" if status.get("tier") in ("device", "edge") else ""
        )
    away = "[yellow]draining[/]" if status.get("draining") else "[red]not ready[/]"
    state = "[green]ready[/]" if tier.ready else away
    return name, address, state, f"{status.get('requests', 0):,}", _exits(status), _uplink(tier.part("uplink"))


def _exits(status: Mapping[str, Any]) -> str:
    counts = {exit: count for exit, count in (status.get("exits") or {}).items() if count}
    total = sum(counts.values())
    shares = " · ".join(f"{exit} {percent(count / total, 0)}" for exit, count in counts.items())
    degraded = status.get("degraded", 0)
    return (shares or "—") + (f"  [yellow]{degraded:,} degraded[/]" if degraded else "")


def _uplink(uplink: Mapping[str, Any]) -> str:
    if not uplink:
        return "—"
    circuit, trip = uplink.get("circuit", "?"), uplink.get("round_trip_ms")
    return ("[green]ok[/]" if circuit == "closed" else f"[red]{circuit}[/]") + (f" {trip:.1f} ms" if trip else "")
