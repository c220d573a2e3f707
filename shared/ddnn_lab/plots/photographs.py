"""The plots of a study of photographs: what bytes buy, of thresholds chosen at the site and of pictures."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ddnn.plot_style import COLOURS, name, panels
from ddnn_lab.plots import fit, line

__all__ = ["pictures", "site"]

Document = Mapping[str, Any]
_FORMATS = {"jpeg": ("JPEG", "other"), "webp": ("WebP", "another")}


def site(parts: Document) -> Figure | None:
    """Accuracy against the share of all views' bytes, beside random offload and each exit alone."""
    found = parts.get("site")
    if not found or not found["points"]:
        return None
    figure, on = _axes("Thresholds chosen at the site", "bytes, % of all views sent to the cloud", "accuracy, %")
    x = [100 * point["share"]["mean"] for point in found["points"]]
    line(on, x, [point["accuracy"] for point in found["points"]], "sent up when unsure", "overall")
    by_lot = [100 * (point["accuracy"]["mean"] - point["above_random"]["mean"]) for point in found["points"]]
    on.plot(x, by_lot, "--", color=COLOURS["device"], label="as many to each exit, drawn by lot")
    for exit, figures in found["exits"].items():
        where = 100 * figures["bytes"]["mean"] / found["every_view"]["mean"], 100 * figures["accuracy"]["mean"]
        on.plot(*where, "D", color=COLOURS[exit], label=f"{exit} exit alone")
    fit(on)
    on.legend(fontsize=9, loc="lower right")
    return figure


def pictures(parts: Document) -> Figure | None:
    """Accuracy against bytes a view, of pictures of every size and quality and of features."""
    found = parts.get("pictures")
    if not found:
        return None
    figure, on = _axes("Pictures instead of features", "bytes a view (log)", "accuracy, %")
    for kind, (label, colour) in _FORMATS.items():
        points = [point for point in found["points"] if point["kind"] == kind]
        x, y = ([point[key]["mean"] for point in points] for key in ("file", "accuracy"))
        on.scatter(x, [100 * each for each in y], 22, COLOURS[colour], label=label)
        if kind == "jpeg":
            bare = [point["scan"]["mean"] for point in points]
            on.scatter(bare, [100 * each for each in y], 18, COLOURS[colour], marker="x", label="JPEG, bare")
    edge = found["edge"]["bytes"]["mean"], 100 * found["edge"]["accuracy"]["mean"]
    on.plot(*edge, "*", color=COLOURS["edge"], markersize=13, label="features, the edge's exit")
    on.axhline(edge[1], color=COLOURS["edge"], linewidth=0.8, linestyle=":")
    on.axhline(
        100 * found["raw"]["accuracy"]["mean"], color=COLOURS["device"], linewidth=0.8, label="views as they are"
    )
    on.set_xscale("log")
    on.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    on.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    on.xaxis.set_minor_locator(NullLocator())
    on.legend(fontsize=9, loc="lower right")
    return figure


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure, (on,) = panels(1, height=4.8)
    name(on, title, x, y)
    return figure, on
