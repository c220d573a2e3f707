"""What a comparison has shown: targets, tables and a plot."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

from ddnn.plot_style import name as entitle
from ddnn.plot_style import panels
from ddnn_lab.plots import save
from ddnn_lab.reporting import render

__all__ = ["best", "draw", "efficiency", "report", "same_rate", "targets"]

LEAST_S: Final = 1e-3  #: the least CPU time that is told; less counts as this much
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


def report(results: Document) -> str:
    """Markdown."""
    ours, peers = results["ours"], results["peers"]
    linked = [(each["name"], each["linked"]) for each in peers]
    linked += [("our fleet", ours["linked"]), ("our fleet, every event sent up", ours["offloaded"])]
    peer = max(efficiency(best(each["saturated"])) for each in peers)
    systems = [*peers, {**ours, "name": "our fleet"}]
    return render("peers.md", **results, systems=systems, linked=linked, peer=peer, best=best, efficiency=efficiency)


_MARKS: Final = {"p50": "-", "p95": ":"}


def draw(results: Document, file: Path) -> None:
    """Write the PNG."""
    systems = [*((each["name"], each) for each in results["peers"]), ("our fleet", results["ours"])]
    colours = mpl.colormaps["tab10"].colors  # type: ignore[attr-defined]
    figure, (rates, linked) = panels(2, height=8.0)
    for place, (name, each) in enumerate(systems):
        points = [point for point in each["rates"] if point["latency_ms"]]
        for key, style in _MARKS.items():
            x, y = [point["offered_per_s"] for point in points], [point["latency_ms"][key] for point in points]
            rates.plot(x, y, f"o{style}", color=colours[place], markersize=4, label=name if key == "p50" else None)
    rates.set_xscale("log")
    rates.set_yscale("log")
    entitle(rates, "Without links: p50 (line) and p95 (dots)", "offered, events/s", "ms")
    rates.legend(fontsize=7, framealpha=0.5)
    bars = [(name, each["linked"], colours[place]) for place, (name, each) in enumerate(systems)]
    bars.append(("our fleet, every event sent up", results["ours"]["offloaded"], "0.5"))
    answered = [bar for bar in bars if bar[1]["latency_ms"]]
    for place, (_, point, colour) in enumerate(reversed(answered)):
        linked.barh(place, point["latency_ms"]["p95"], color=colour, alpha=0.35)
        linked.barh(place, point["latency_ms"]["p50"], color=colour)
    labels = [f"{name}, {point['accuracy']:.1%}" for name, point, _ in reversed(answered)]
    linked.set_yticks(range(len(labels)), labels, fontsize=7)
    entitle(linked, f"Cloud {results['links']['edge_cloud']} away: p50 (full) and p95 (pale)", "ms", "")
    save(figure, file)
