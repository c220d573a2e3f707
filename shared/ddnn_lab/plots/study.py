"""The plots of a study, made of `results.json` alone."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ddnn.formatting import percent
from ddnn.plot_style import COLOURS, name, panels
from ddnn_lab.plots import fit, line, save
from ddnn_lab.plots.photographs import pictures, site

__all__ = ["PLOTS", "write_plots"]

Document = Mapping[str, Any]


def write_plots(results: Document, folder: Path) -> list[str]:
    """Draw what there are runs for into `folder`, as PNG; return the names."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {part: document or {} for part, document in results["parts"].items()}
    figures = {file: figure for file, draw in PLOTS.items() if (figure := draw(parts))}
    for file, figure in figures.items():
        save(figure, folder / f"{file}.png")
    return list(figures)


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure, (on,) = panels(1, height=4.8)
    name(on, title, x, y)
    return figure, on


def _bytes(parts: Document) -> Figure | None:
    """Accuracy against bytes: the frontier of exits, and the uncut network on JPEG and raw views."""
    joint, uncut = parts.get("joint"), parts.get("uncut")
    if not joint or not joint["frontier"]:
        return None
    figure, on = _axes("Accuracy against bytes", "bytes a device and event, payload up (log)", "accuracy on test, %")

    def curve(points: Sequence[Document], key: str, label: str, colour: str, **look: str) -> None:
        line(on, _means(points, key), [point["accuracy"] for point in points], label, colour, **look)

    def tuned(exits: Document, marker: str, label: str, colour: str, **look: Any) -> None:
        where = exits["bytes"]["per_device"]["mean"], 100 * exits["overall"]["accuracy"]["mean"]
        on.plot(*where, marker, color=COLOURS[colour], label=label, **look)

    points = sorted(joint["frontier"], key=lambda point: float(point["bytes"]["mean"]))
    curve(points, "bytes", "exits, by local threshold", "cloud")
    tuned(joint["exits"], "*", "overall, tuned", "overall", markersize=13, zorder=5)
    if uncut:
        jpeg = uncut["jpeg"]["points"] if uncut["jpeg"] else ()
        curve(jpeg, "file", "uncut network on JPEG, whole files", "other", marker="s", style="--")
        curve(jpeg, "scan", "uncut network on JPEG, coded pixels alone", "another", marker="s", style="--")
        tuned(uncut["exits"], "D", "uncut network, raw views", "other")
    on.set_xscale("log")
    on.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    on.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    on.xaxis.set_minor_locator(NullLocator())
    fit(on)
    on.legend(fontsize=9)
    return figure


def _lost(parts: Document) -> Figure | None:
    """Failed after training, over every choice of devices; and trained without, where one is left out."""
    joint = parts.get("joint")
    if not joint or not joint["one_lost"]:
        return None
    by_count = _by_lost(joint)
    figure, on = _axes("Devices lost", "devices lost", "overall accuracy on test, %")
    x, groups = sorted(by_count), [group for _, group in sorted(by_count.items())]
    mean = [fmean(group) for group in groups]
    on.plot(x, mean, "o-", markersize=4, color=COLOURS["cloud"], label="failed after training, mean over choices")
    label = "failed after training, worst to best choice"
    bounds = [min(group) for group in groups], [max(group) for group in groups]
    on.fill_between(x, *bounds, color=COLOURS["cloud"], alpha=0.15, linewidth=0, label=label)
    if without := [_overall(variant) for variant in parts.get("without", {}).values() if variant]:
        middle = fmean(without)
        # The mean of equals may round past them.
        bars = [[max(middle - min(without), 0.0)], [max(max(without) - middle, 0.0)]]
        label = "trained without the one device, worst to best"
        on.errorbar([1.06], [middle], yerr=bars, fmt="D", capsize=5, color=COLOURS["other"], label=label)
    on.xaxis.set_major_locator(MaxNLocator(integer=True))
    on.legend(fontsize=9, loc="lower left")
    return figure


def _by_lost(joint: Document) -> dict[int, list[float]]:
    """Overall accuracy in percent of every choice, by how many are lost."""
    each = joint["one_lost"]["each"]
    if not joint["subsets"]:
        return {0: [_overall(joint)], 1: [100 * one["overall"]["accuracy"]["mean"] for one in each]}
    groups = defaultdict(list, {0: [_overall(joint)]})
    for left, one in joint["subsets"].items():
        if lost := len(each) - left.count("+") - 1:
            groups[lost].append(100 * one["accuracy"]["mean"])
    return groups


def _by_exit(on: Axes, x: Sequence[float], runs: Sequence[Document | None]) -> None:
    """Accuracy of each exit and overall, over `x`; what is not made is left out."""
    for exit in next(filter(None, runs))["always"]:
        line(on, x, [run and run["always"][exit]["accuracy"] for run in runs], exit, exit)
    line(on, x, [run and run["overall"]["accuracy"] for run in runs], "overall", "overall", marker="*")


def _added(parts: Document) -> Figure | None:
    """The paper's figure 8: devices added worst first."""
    added, joint = parts.get("added"), parts.get("joint")
    if not added or sum(variant is not None for variant in added["first"]) < 2:
        return None
    figure, on = _axes("Devices added, worst first", "devices in the network", "accuracy on test, %")
    x = list(range(1, len(added["first"]) + 1))
    if joint:
        alone = joint["exits"]["exits"]["device"]["accuracy"]
        own = [alone[int(device)] for device in added["order"][: len(x)]]
        line(on, x, own, "the device added, alone", "device", style=":")
    _by_exit(on, x, [variant and variant["exits"] for variant in added["first"]])
    on.xaxis.set_major_locator(MaxNLocator(integer=True))
    on.legend(fontsize=9, loc="lower right")
    return figure


def _thresholds(parts: Document) -> Figure | None:
    """Overall accuracy and the local exit's share against its threshold, in the paper's form and as served."""
    joint = parts.get("joint")
    if not joint or not joint["thresholds"]:
        return None
    figure, (above, below) = panels(2, height=6.4)
    served = "served: temperatures" + (", edge exit tuned" if "edge" in joint["exits"]["always"] else "")
    looks = {"paper": ("paper's form: local and cloud", "cloud", "-"), "served": (served, "other", "--")}
    x = [float(value) for value in joint["thresholds"]["T"]]
    for form, (label, colour, style) in looks.items():
        for on, key in ((above, "accuracy"), (below, "local_share")):
            line(on, x, [row[key] for row in joint["thresholds"][form]], label, colour, style=style)
    name(above, "The local exit's threshold", "", "overall accuracy on test, %")
    name(below, "", "threshold T of the local exit's normalised entropy", "events at the local exit, %")
    fit(above)
    above.legend(fontsize=9)
    return figure


def _reliability(parts: Document) -> Figure | None:
    """Accuracy against confidence for each exit."""
    if not (joint := parts.get("joint")):
        return None
    confidence = joint["confidence"]
    figure, axes = panels(len(confidence), height=3.5, columns=len(confidence))
    for on, (exit, known) in zip(axes, confidence.items(), strict=True):
        bins = [bin for bin in zip(*(known["bins"][key] for key in ("confidence", "right", "share")), strict=True)]
        x, y, share = zip(*([100 * value["mean"] for value in bin] for bin in bins if bin[2]["mean"] > 0), strict=True)
        on.plot([0, 100], [0, 100], ":", color=COLOURS["device"], linewidth=1)
        on.plot(x, y, "-", color=COLOURS[exit], linewidth=1)
        on.scatter(x, y, [12 + 2.2 * of for of in share], COLOURS[exit], alpha=0.75, linewidth=0, clip_on=False)
        auroc = percent(known["auroc"] and known["auroc"]["mean"])
        name(on, f"{exit}\nAUROC {auroc}\nECE {100 * known['ece']['mean']:.1f} points", "confidence, %", "accuracy, %")
        on.set(xlim=(0, 100), ylim=(0, 100), aspect="equal")
    return figure


def _filters(parts: Document) -> Figure | None:
    """The paper's figure 9: accuracy and bytes by the features sent up."""
    by_count = {int(count): variant["exits"] for count, variant in parts.get("filters", {}).items() if variant}
    if len(by_count) < 2:
        return None
    figure, (above, below) = panels(2, height=6.4)
    x, exits = zip(*sorted(by_count.items()), strict=True)
    _by_exit(above, x, exits)
    sent = [one["bytes"] for one in exits]
    every = [one["scores"]["mean"] + one["features"]["mean"] for one in sent]
    below.plot(x, every, "s--", markersize=4, color=COLOURS["device"], label="every event sent up")
    label = "thresholds tuned, by the paper's formula"
    below.plot(x, _means(sent, "formula_per_device"), "o-", markersize=4, color=COLOURS["overall"], label=label)
    for on in (above, below):
        on.set_xscale("log", base=2)
        on.set_xticks(x, labels=[str(count) for count in x])
        on.xaxis.set_minor_locator(NullLocator())
        on.legend(fontsize=9)
    fit(above)
    below.set_ylim(bottom=0)
    name(above, "Filters sent up", "", "accuracy on test, %")
    name(below, "", "filters of a device's features", "bytes a device and event")
    return figure


def _overall(variant: Document) -> float:
    """In percent."""
    return 100 * float(variant["exits"]["overall"]["accuracy"]["mean"])


def _means(points: Sequence[Document], key: str) -> list[float]:
    return [float(point[key]["mean"]) for point in points]


PLOTS: Final[dict[str, Callable[[Document], Figure | None]]] = {
    "bytes": _bytes,
    "lost": _lost,
    "added": _added,
    "thresholds": _thresholds,
    "reliability": _reliability,
    "filters": _filters,
    "site": site,
    "pictures": pictures,
}
"""Every plot of the parts of a study, by the name of its file."""
