"""Plots of accuracy against bytes."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ddnn.bench.plots.paper import COLOURS, axes, line

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
                name = f"uncut network on JPEG, {label}"
                line(on, _means(told["points"], key), accuracies, name, COLOURS[colour], marker="s", style="--")
        raw = uncut["exits"]
        on.plot(
            raw["bytes"]["per_device"]["mean"],
            100 * raw["overall"]["accuracy"]["mean"],
            "D",
            color=COLOURS["other"],
            label="uncut network, raw views",
        )
    on.set_xscale("log")
    on.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    on.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""))
    on.legend(fontsize=9, loc="lower right")
    return figure


def filters(results: Document) -> Figure | None:
    """The paper's figure 9."""
    found = {int(name): told["exits"] for name, told in (results["parts"].get("filters") or {}).items() if told}
    if len(found) < 2:
        return None
    figure, on = axes("Filters sent up", "bytes a device and event, by the paper's formula", "accuracy on test, %")
    order = sorted(found)
    bytes_up = [found[count]["bytes"]["formula_per_device"]["mean"] for count in order]
    for exit in found[order[0]]["always"]:
        line(on, bytes_up, [found[count]["always"][exit]["accuracy"] for count in order], exit, COLOURS[exit])
    overall = [found[count]["overall"]["accuracy"] for count in order]
    line(on, bytes_up, overall, "overall", COLOURS["overall"], marker="*")
    for count, sent, told in zip(order, bytes_up, overall, strict=True):
        on.annotate(
            f"{count} filters" if count > 1 else "1 filter",
            (sent, 100 * told["mean"]),
            xytext=(0, 7),
            textcoords="offset points",
            fontsize=8,
            ha="center",
        )
    on.legend(fontsize=9)
    return figure


def _means(points: Any, key: str) -> list[float]:
    return [float(point[key]["mean"]) for point in points]
