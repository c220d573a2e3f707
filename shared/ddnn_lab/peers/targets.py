"""The targets, from what was measured: what is wanted, what was found, and against whom."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["best", "efficiency", "same_rate", "targets"]

LEAST_S: Final = 1e-3
"""The least CPU time that is told; less counts as this much."""
Document = Mapping[str, Any]


def efficiency(point: Document) -> float:
    """Events for a CPU second of the cloud."""
    return float(point["answered"] / max(point["cpu_s"]["cloud"], LEAST_S))


def best(points: Sequence[Document]) -> Document:
    """The point with the most events for a CPU second of the cloud."""
    return max(points, key=efficiency)


def targets(results: Document) -> list[dict[str, Any]]:
    """One row each: `name`, `wanted`, `found`, `met`, `against`, `note`."""
    peers, ours, sent = results["peers"], results["ours"], results["bytes"]
    rows = [_cpu(peers, ours), _median(peers, ours), _tail(peers, ours, results["links"])]
    raw, up = sent["raw_views"], sent["edge_to_cloud"]
    everything = (
        f"{up:.4g} B an event; {sent['offloaded']:.0f} B if every event went up, 1/{raw / sent['offloaded']:.0f}"
    )
    rows.append(
        _row("edge → cloud payload / raw views", "≤ 1/20", up / raw, up / raw <= 1 / 20, "raw views", everything)
    )
    coded = sent["jpeg"]
    if coded:
        note = f"{coded['bytes']:.0f} B an event ({coded['how']}, quality {coded['quality']})"
        found = up / coded["bytes"]
        rows.append(_row("edge → cloud payload / JPEG", "≤ 1/5", found, found <= 1 / 5, "JPEG of equal accuracy", note))
    return rows


def _cpu(peers: Sequence[Document], ours: Document) -> dict[str, Any]:
    peer = max(peers, key=lambda each: efficiency(best(each["saturated"])))
    theirs, mine = efficiency(best(peer["saturated"])), efficiency(best(ours["saturated"]))
    alike = same_rate(peers, ours)
    note = f"{mine:,.0f} against {theirs:,.0f} events for a CPU second of the cloud, each at its best; {alike}"
    return _row("events per CPU second of the cloud", "≥ 10", mine / theirs, mine >= 10 * theirs, peer["name"], note)


def same_rate(peers: Sequence[Document], ours: Document) -> str:
    """The same comparison under the same load: the highest rate that all were offered."""
    common = set.intersection(*({_rate(point) for point in each["rates"]} for each in (*peers, ours)))
    if not common:
        return "no rate in common"
    rate = max(common)
    theirs, mine = (
        max(efficiency(point) for each in systems for point in each["rates"] if _rate(point) == rate)
        for systems in (peers, [ours])
    )
    return f"at {rate:g} events/s for both {mine:,.0f} against {theirs:,.0f}, {mine / theirs:.1f} times"


def _rate(point: Document) -> float:
    return float(point["arrivals"]["rate"])


def _median(peers: Sequence[Document], ours: Document) -> dict[str, Any]:
    peer = min(peers, key=lambda each: _over_link(each, "p50"))
    theirs, mine = _over_link(peer, "p50"), _over_link(ours, "p50")
    note = f"{mine:.1f} ms against {theirs:.1f} ms"
    return _row("p50 over the thin link", "≤ 1/3", mine / theirs, 3 * mine <= theirs, peer["name"], note)


def _over_link(system: Document, percentile: str) -> float:
    """Milliseconds; infinite where nothing was answered."""
    found = system["linked"]["latency_ms"]
    return float(found[percentile]) if found else math.inf


def _tail(peers: Sequence[Document], ours: Document, links: Document) -> dict[str, Any]:
    peer = min(peers, key=lambda each: _over_link(each, "p95"))
    theirs, mine = _over_link(peer, "p95"), ours["offloaded"]["latency_by_exit_ms"]["cloud"]["p95"]
    allowed = theirs + 2 * links["device_edge_ms"] + links["wait_ms"]
    note = f"{mine:.1f} ms; {theirs:.1f} + 2 × {links['device_edge_ms']:g} + {links['wait_ms']:g} ms allowed"
    return _row("p95 of offloaded events, ms", f"≤ {allowed:.1f}", mine, mine <= allowed, peer["name"], note)


def _row(name: str, wanted: str, found: float, met: bool, against: str, note: str) -> dict[str, Any]:
    return {"name": name, "wanted": wanted, "found": found, "met": bool(met), "against": against, "note": note}
