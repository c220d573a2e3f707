"""Plots of a study of load: latency, goodput and what the answers are worth, over what was offered."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddnn_lab.plots.style import COLOURS, name, panels, save

__all__ = ["draw"]

Points = Sequence[Mapping[str, Any]]
_PERCENTILES = {"p50": COLOURS["edge"], "p90": COLOURS["local"], "p95": COLOURS["other"], "p99": COLOURS["cloud"]}


def draw(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw what there are points for; return the files."""
    kinds = {"open": ("poisson", "offered, events/s"), "closed": ("closed", "clients at once")}
    files = []
    for file, (kind, x) in kinds.items():
        points = [point for point in results["points"] if point["arrivals"]["kind"] == kind]
        if len(points) > 1:
            files.append(folder / f"{file}.png")
            save(_load(sorted(points, key=_x), f"{results['name']}, {x.split(',')[0]}", x), files[-1])
    return files


def _x(point: Mapping[str, Any]) -> float:
    arrivals = point["arrivals"]
    return float(arrivals["rate"] if arrivals["kind"] == "poisson" else arrivals["clients"])


def _load(points: Points, title: str, x: str) -> Figure:
    figure, (latency, goodput, worth) = panels(3, height=8.4)
    places = [_x(point) for point in points]
    for key, colour in _PERCENTILES.items():
        there = [
            (place, point["latency_ms"][key])
            for place, point in zip(places, points, strict=True)
            if point["latency_ms"]
        ]
        latency.plot(*zip(*there, strict=True), "o-", markersize=4, color=colour, label=key) if there else None
    latency.set_yscale("log")
    name(latency, f"{title}: latency of answers", "", "ms")
    goodput.plot(places, [point["goodput_per_s"] for point in points], "o-", color=COLOURS["overall"], label="goodput")
    if points[0]["arrivals"]["kind"] == "poisson":
        goodput.plot(
            places, [point["offered_per_s"] for point in points], ":", color=COLOURS["device"], label="offered"
        )
    goodput.set_ylim(bottom=0)
    name(goodput, "Answers within the deadline", "", "events/s")
    _worth(worth, places, points)
    name(worth, "What the answers are worth", x, "%")
    for on in (latency, goodput, worth):
        on.legend(fontsize=8, loc="best")
    return figure


def _worth(on: Axes, places: Sequence[float], points: Points) -> None:
    known = [(place, 100 * point["accuracy"]) for place, point in zip(places, points, strict=True) if point["accuracy"]]
    if known:
        on.plot(*zip(*known, strict=True), "*-", color=COLOURS["overall"], label="accuracy")
    on.plot(
        places, [100 * point["degraded_share"] for point in points], "s--", color=COLOURS["other"], label="degraded"
    )
    for exit in ("local", "edge", "cloud"):
        share = [100 * point["exit_share"].get(exit, 0.0) for point in points]
        if any(share):
            on.plot(places, share, ".-", alpha=0.6, linewidth=1, color=COLOURS[exit], label=f"answered at {exit}")
    on.set_ylim(-2, 102)
