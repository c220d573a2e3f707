"""Plots of accuracy against devices: added, and lost."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ddnn_lab.plots.style import COLOURS, axes, line

__all__ = ["added", "lost"]

Document = Mapping[str, Any]


def added(results: Document) -> Figure | None:
    """The paper's figure 8: devices added worst first."""
    found = results["parts"].get("added")
    if not found or sum(each is not None for each in found["first"]) < 2:
        return None
    figure, on = axes("Devices added, worst first", "devices in the network", "accuracy on test, %")
    x = list(range(1, len(found["first"]) + 1))
    if joint := results["parts"].get("joint"):
        alone = joint["exits"]["exits"]["device"]["accuracy"]
        told = [alone[int(device)] for device in found["order"][: len(x)]]
        line(on, x, told, "the device added, alone", COLOURS["device"], style=":")
    first = next(each for each in found["first"] if each)
    for exit in first["exits"]["always"]:
        told = [each and each["exits"]["always"][exit]["accuracy"] for each in found["first"]]
        line(on, x, told, exit, COLOURS[exit])
    overall = [each and each["exits"]["overall"]["accuracy"] for each in found["first"]]
    line(on, x, overall, "overall", COLOURS["overall"], marker="*")
    on.xaxis.set_major_locator(MaxNLocator(integer=True))
    on.legend(fontsize=9, loc="lower right")
    return figure


def lost(results: Document) -> Figure | None:
    """Failed after training, over every choice of devices; and trained without, where one is left out."""
    joint, without = results["parts"].get("joint"), results["parts"].get("without") or {}
    if not joint or not joint["one_lost"]:
        return None
    by_count = _by_count(joint)
    figure, on = axes("Devices lost", "devices lost", "overall accuracy on test, %")
    x = sorted(by_count)
    mean = [sum(by_count[count]) / len(by_count[count]) for count in x]
    on.plot(x, mean, "o-", markersize=4, color=COLOURS["cloud"], label="failed after training, mean over choices")
    on.fill_between(
        x,
        [min(by_count[count]) for count in x],
        [max(by_count[count]) for count in x],
        color=COLOURS["cloud"],
        alpha=0.15,
        linewidth=0,
        label="failed after training, worst to best choice",
    )
    told = [100 * each["exits"]["overall"]["accuracy"]["mean"] for each in without.values() if each]
    if told:
        middle = sum(told) / len(told)
        on.errorbar(
            [1.06],
            [middle],
            # The mean of equals may round past them.
            yerr=[[max(middle - min(told), 0.0)], [max(max(told) - middle, 0.0)]],
            fmt="D",
            capsize=5,
            color=COLOURS["other"],
            label="trained without the one device, worst to best",
        )
    on.xaxis.set_major_locator(MaxNLocator(integer=True))
    on.legend(fontsize=9, loc="lower left")
    return figure


def _by_count(joint: Document) -> dict[int, list[float]]:
    """Overall accuracy in percent of every choice, by how many are lost."""
    devices = len(joint["one_lost"]["each"])
    found = {0: [100 * joint["exits"]["overall"]["accuracy"]["mean"]]}
    if joint["subsets"]:
        for group, told in joint["subsets"].items():
            lost_count = devices - group.count("+") - 1
            if lost_count:
                found.setdefault(lost_count, []).append(100 * told["accuracy"]["mean"])
    else:
        found[1] = [100 * each["overall"]["accuracy"]["mean"] for each in joint["one_lost"]["each"]]
    return found
