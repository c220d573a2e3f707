"""Plots of accuracy against bytes."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ddnn_lab.plots.style import COLOURS, axes, fit, line, name, panels

__all__ = ["against_bytes", "filters"]

Document = Mapping[str, Any]


def against_bytes(results: Document) -> Figure | None:
    """The frontier of exits, and the uncut network on JPEG and raw views."""
    parts = results["parts"]
    joint, uncut = parts.get("joint"), parts.get("uncut")
    points = joint and joint["frontier"]
    if not joint or not points:
        return None
    figure, on = axes("Accuracy against bytes", "bytes a device and event, payload up (log)", "accuracy on test, %")
    order = sorted(points, key=lambda point: float(point["bytes"]["mean"]))
    line(
        on,
        _means(order, "bytes"),
        [point["accuracy"] for point in order],
        "exits, by local threshold",
        COLOURS["cloud"],
    )
    tuned = joint["exits"]
    on.plot(
        tuned["bytes"]["per_device"]["mean"],
        100 * tuned["overall"]["accuracy"]["mean"],
        "*",
        color=COLOURS["overall"],
        markersize=13,
        label="overall, tuned",
        zorder=5,
    )
    if uncut:
        told = uncut["jpeg"]
        for key, label, colour in (("file", "whole files", "other"), ("scan", "coded pixels alone", "another")):
            if told:
                accuracies = [point["accuracy"] for point in told["points"]]
                what = f"uncut network on JPEG, {label}"
                line(on, _means(told["points"], key), accuracies, what, COLOURS[colour], marker="s", style="--")
        raw = uncut["exits"]
        on.plot(
            raw["bytes"]["per_device"]["mean"],
            100 * raw["overall"]["accuracy"]["mean"],
            "D",
            color=COLOURS["other"],
            label="uncut network, raw views",
        )
    on.set_xscale("log")
    on.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    on.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    on.xaxis.set_minor_locator(NullLocator())
    fit(on)
    on.legend(fontsize=9)
    return figure


def filters(results: Document) -> Figure | None:
    """The paper's figure 9."""
    found = {int(name): told["exits"] for name, told in (results["parts"].get("filters") or {}).items() if told}
    if len(found) < 2:
        return None
    figure, (above, below) = panels(2, height=6.4)
    order = sorted(found)
    for exit in found[order[0]]["always"]:
        line(above, order, [found[count]["always"][exit]["accuracy"] for count in order], exit, COLOURS[exit])
    overall = [found[count]["overall"]["accuracy"] for count in order]
    line(above, order, overall, "overall", COLOURS["overall"], marker="*")
    sent = [found[count]["bytes"] for count in order]
    every = [told["scores"]["mean"] + told["features"]["mean"] for told in sent]
    tuned = [told["formula_per_device"]["mean"] for told in sent]
    below.plot(order, every, "s--", markersize=4, color=COLOURS["device"], label="every event sent up")
    below.plot(
        order, tuned, "o-", markersize=4, color=COLOURS["overall"], label="thresholds tuned, by the paper's formula"
    )
    for on in (above, below):
        on.set_xscale("log", base=2)
        on.set_xticks(order, labels=[str(count) for count in order])
        on.xaxis.set_minor_locator(NullLocator())
        on.legend(fontsize=9)
    fit(above)
    below.set_ylim(bottom=0)
    name(above, "Filters sent up", "", "accuracy on test, %")
    name(below, "", "filters of a device's features", "bytes a device and event")
    return figure


def _means(points: Any, key: str) -> list[float]:
    return [float(point[key]["mean"]) for point in points]
