"""The front as SVG that takes its ink from the page around it; made of the document alone."""

from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.ticker import StrMethodFormatter

from ddnn.plot_style import COLOURS, INK, STYLE, name, panels, svg

__all__ = ["front"]


def front(document: Mapping[str, Any]) -> str:
    """Error against bytes: every network that was trained, the front, its knee, and where the search started."""
    trained = {trial["number"]: trial for trial in document["trials"] if trial["refused"] is None}
    ends = [trained[number] for number in document["front"]]

    def places(trials: list[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
        return [trial["bytes"] for trial in trials], [100 * trial["error"] for trial in trials]

    with matplotlib.rc_context(STYLE):
        figure, (on,) = panels(1, height=4.6)
        on.scatter(*places(list(trained.values())), s=18, color=INK, alpha=0.35, linewidth=0, label="tried")
        on.plot(*places(ends), "o-", color=COLOURS["cloud"], markersize=6, linewidth=1.4, label="front")
        on.plot(*places([trained[document["knee"]]]), "*", color=COLOURS["other"], markersize=15, label="knee")
        if 0 in trained:
            on.plot(*places([trained[0]]), "s", color=COLOURS["edge"], markersize=8, label="start")
        for trial in ends:
            where = trial["bytes"], 100 * trial["error"]
            on.annotate(str(trial["number"]), where, xytext=(5, 5), textcoords="offset points", fontsize=8)
        on.set_xscale("log")
        for axis in (on.xaxis.set_major_formatter, on.xaxis.set_minor_formatter):
            axis(StrMethodFormatter("{x:,.4g}"))
        what = "bytes of an event" if document["per"] == "event" else "bytes of a site in a round"
        name(on, "Networks by what they get wrong and what they send", what, "wrong on validation, %")
        on.legend()
        return svg(figure, "error against bytes of every network")
