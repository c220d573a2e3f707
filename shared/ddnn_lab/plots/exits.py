"""Plots of when exits answer, and whether they know when they are wrong."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from ddnn_lab.plots.style import COLOURS, fit, line, name, panels

__all__ = ["reliability", "thresholds"]

Document = Mapping[str, Any]


def thresholds(results: Document) -> Figure | None:
    """Overall accuracy and the local exit's share against its threshold, in the paper's form and as served."""
    joint = results["parts"].get("joint")
    told = joint and joint["thresholds"]
    if not joint or not told:
        return None
    figure, (above, below) = panels(2, height=6.4)
    edge = "edge" in joint["exits"]["always"]
    served = "served: temperatures" + (", edge exit tuned" if edge else "")
    x = [float(value) for value in told["T"]]
    for form, label, colour, style in (
        ("paper", "paper's form: local and cloud", "cloud", "-"),
        ("served", served, "other", "--"),
    ):
        line(above, x, [each["accuracy"] for each in told[form]], label, COLOURS[colour], style=style)
        line(below, x, [each["local_share"] for each in told[form]], label, COLOURS[colour], style=style)
    name(above, "The local exit's threshold", "", "overall accuracy on test, %")
    name(below, "", "threshold T of the local exit's normalised entropy", "events at the local exit, %")
    fit(above)
    above.legend(fontsize=9)
    return figure


def reliability(results: Document) -> Figure | None:
    """Accuracy against confidence for each exit."""
    joint = results["parts"].get("joint")
    if not joint:
        return None
    found = joint["confidence"]
    figure, every = panels(len(found), height=3.5, columns=len(found))
    for on, (exit, told) in zip(every, found.items(), strict=True):
        bins = told["bins"]
        there = [place for place, share in enumerate(bins["share"]) if share["mean"] > 0]
        x, y, share = ([100 * bins[key][place]["mean"] for place in there] for key in ("confidence", "right", "share"))
        on.plot([0, 100], [0, 100], ":", color=COLOURS["device"], linewidth=1)
        on.plot(x, y, "-", color=COLOURS[exit], linewidth=1)
        on.scatter(
            x, y, s=[12 + 2.2 * each for each in share], color=COLOURS[exit], alpha=0.75, linewidth=0, clip_on=False
        )
        auroc = "—" if told["auroc"] is None else f"{100 * told['auroc']['mean']:.1f} %"
        name(on, f"{exit}\nAUROC {auroc}\nECE {100 * told['ece']['mean']:.1f} points", "confidence, %", "accuracy, %")
        on.set_xlim(0, 100)
        on.set_ylim(0, 100)
        on.set_aspect("equal")
    return figure
