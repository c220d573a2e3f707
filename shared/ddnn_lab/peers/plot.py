"""Latency over rate for every system, and the time over the thin link."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

from ddnn.plot_style import name as entitle
from ddnn.plot_style import panels
from ddnn_lab.load.plots import save

__all__ = ["draw"]

_MARKS: Final = {"p50": "-", "p95": ":"}


def draw(results: Mapping[str, Any], file: Path) -> None:
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
