"""Plot of a drifting stream: what audits estimated, what was true, and the evidence against the promise."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ddnn.plot_style import COLOURS, name, panels

__all__ = ["drift"]

_MOST = 1e12
"""Evidence is drawn up to here."""


def drift(document: Mapping[str, Any]) -> Figure:
    """Of `ddnn_lab.drifting.replay`'s document: a panel of disagreement for each exit, one of evidence."""
    promised, points = document["policy"]["promised"], document["points"]
    x = [point["event"] for point in points]
    figure, every = panels(len(promised) + 1, height=2.4 * (len(promised) + 1) + 0.6)
    for on, (exit, most) in zip(every, promised.items(), strict=False):
        known = [point["exits"][exit] for point in points]
        on.fill_between(
            x,
            [100 * each["low"] for each in known],
            [100 * each["high"] for each in known],
            color=COLOURS[exit],
            alpha=0.2,
            linewidth=0,
        )
        on.plot(x, [100 * each["share"] for each in known], color=COLOURS[exit], label="audits, with 95 % interval")
        steps = [(window["events"], window["exits"][exit]["truth"]) for window in document["windows"]]
        for place, ((low, high), truth) in enumerate(steps):
            if truth is not None:
                label = "_" if place else "true, by window"
                on.hlines(100 * truth, low, high, color=COLOURS["overall"], linewidth=1.2, label=label)
        on.axhline(100 * most, color=COLOURS["other"], linestyle="--", linewidth=1, label="promised at most")
        top = max([most, *(truth for _, truth in steps if truth is not None), *(each["share"] for each in known[9:])])
        on.set_ylim(0, 100 * min(1.0, 1.6 * top))
        name(on, f"Answers of the {exit} exit that are not the cloud's", "", "%")
    below = every[-1]
    for exit in promised:
        below.plot(
            x,
            np.clip([each["exits"][exit]["e_value"] for each in points], 1e-3, _MOST),
            color=COLOURS[exit],
            label=exit,
        )
    below.axhline(document["limit"], color=COLOURS["other"], linestyle="--", linewidth=1, label="alarm")
    below.set_yscale("log")
    name(below, "Evidence against the promise (e-value)", "event of the stream", "")
    for on in every:
        if document["begins"] is not None:
            on.axvline(document["begins"], color=COLOURS["device"], linewidth=1, linestyle=":")
        if document["alarm"]:
            on.axvline(document["alarm"]["event"], color=COLOURS["other"], linewidth=1)
        on.legend(fontsize=8, loc="upper left")
    return figure
