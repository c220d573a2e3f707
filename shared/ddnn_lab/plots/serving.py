"""Plots of what is served: a stream that drifts, and a fleet under load."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddnn.plot_style import COLOURS, name, panels
from ddnn_lab.plots import save

__all__ = ["draw_drift", "draw_load"]

Document = Mapping[str, Any]

_MOST_EVIDENCE: Final = 1e12  #: evidence is drawn up to here
_PERCENTILES: Final = {"p50": "edge", "p90": "local", "p95": "other", "p99": "cloud"}
"""Of the latency, and their colours."""
_LOADS: Final = {
    "poisson": ("open", "rate", "offered, events/s", "offered"),
    "closed": ("closed", "clients", "clients at once", "clients at once"),
}
"""Kinds of load: file, key of what is offered, label of the axis, title."""


def draw_drift(document: Document) -> Figure:
    """Of `ddnn_lab.drifting.replay`'s document: a panel of disagreement for each exit, one of evidence."""
    promised, points = document["policy"]["promised"], document["points"]
    figure, axes = panels(len(promised) + 1, height=2.4 * (len(promised) + 1) + 0.6)
    for on, exit in zip(axes, promised, strict=False):
        _disagreement(on, document, exit)
    evidence, x = axes[-1], [point["event"] for point in points]
    for exit in promised:
        values = [point["exits"][exit]["e_value"] for point in points]
        evidence.plot(x, np.clip(values, 1e-3, _MOST_EVIDENCE), color=COLOURS[exit], label=exit)
    evidence.axhline(document["limit"], color=COLOURS["other"], linestyle="--", linewidth=1, label="alarm")
    evidence.set_yscale("log")
    name(evidence, "Evidence against the promise (e-value)", "event of the stream", "")
    for on in axes:
        if document["begins"] is not None:
            on.axvline(document["begins"], color=COLOURS["device"], linewidth=1, linestyle=":")
        if document["alarm"]:
            on.axvline(document["alarm"]["event"], color=COLOURS["other"], linewidth=1)
        on.legend(fontsize=8, loc="upper left")
    return figure


def _disagreement(on: Axes, document: Document, exit: str) -> None:
    """The audits' estimate with its interval, the truth of each window, and what is promised, in percent."""
    most, colour = 100 * document["policy"]["promised"][exit], COLOURS[exit]
    x, estimates = zip(*((point["event"], point["exits"][exit]) for point in document["points"]), strict=True)
    low, share, high = ([100 * estimate[key] for estimate in estimates] for key in ("low", "share", "high"))
    on.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    on.plot(x, share, color=colour, label="audits, with 95 % interval")
    shares = [(window["events"], window["exits"][exit]["truth"]) for window in document["windows"]]
    truths = [(events, 100 * truth) for events, truth in shares if truth is not None]
    for place, (events, truth) in enumerate(truths):
        on.hlines(truth, *events, color=COLOURS["overall"], linewidth=1.2, label="_" if place else "true, by window")
    on.axhline(most, color=COLOURS["other"], linestyle="--", linewidth=1, label="promised at most")
    on.set_ylim(0, min(100.0, 1.6 * max([most, *(truth for _, truth in truths), *share[9:]])))
    name(on, f"Answers of the {exit} exit that are not the cloud's", "", "%")


def draw_load(results: Document, folder: Path) -> list[Path]:
    """Draw latency, goodput and worth of the answers over the load, for each kind with points; return the files."""
    files = []
    for kind, (file, key, x, title) in _LOADS.items():
        points = [point for point in results["points"] if point["arrivals"]["kind"] == kind]
        if points[1:]:
            points.sort(key=lambda point: float(point["arrivals"][key]))
            files.append(folder / f"{file}.png")
            figure = _load(points, [point["arrivals"][key] for point in points], f"{results['name']}, {title}", x)
            save(figure, files[-1])
    return files


def _load(points: Sequence[Document], places: Sequence[float], title: str, x: str) -> Figure:
    figure, axes = panels(3, height=8.4)
    latency, goodput, worth = axes

    def curve(on: Axes, values: Sequence[Any], style: str, colour: str, label: str, **look: Any) -> None:
        known = [(place, value) for place, value in zip(places, values, strict=True) if value is not None]
        if known:
            on.plot(*zip(*known, strict=True), style, color=COLOURS[colour], label=label, **look)

    for key, colour in _PERCENTILES.items():
        values = [(point["latency_ms"] or {}).get(key) for point in points]
        curve(latency, values, "o-", colour, key, markersize=4)
    curve(goodput, [point["goodput_per_s"] for point in points], "o-", "overall", "goodput")
    if points[0]["arrivals"]["kind"] == "poisson":
        curve(goodput, [point["offered_per_s"] for point in points], ":", "device", "offered")
    curve(worth, [point["accuracy"] and 100 * point["accuracy"] for point in points], "*-", "overall", "accuracy")
    curve(worth, [100 * point["degraded_share"] for point in points], "s--", "other", "degraded")
    for exit in ("local", "edge", "cloud"):
        if any(shares := [100 * point["exit_share"].get(exit, 0.0) for point in points]):
            curve(worth, shares, ".-", exit, f"answered at {exit}", alpha=0.6, linewidth=1)
    latency.set_yscale("log")
    goodput.set_ylim(bottom=0)
    worth.set_ylim(-2, 102)
    name(latency, f"{title}: latency of answers", "", "ms")
    name(goodput, "Answers within the deadline", "", "events/s")
    name(worth, "What the answers are worth", x, "%")
    for on in axes:
        on.legend(fontsize=8, loc="best")
    return figure
