"""Plot of a drifting stream: what audits estimated, what was true, and the evidence against the promise."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddnn.plot_style import COLOURS, name, panels

__all__ = ["drift"]

_MOST: Final = 1e12
"""Evidence is drawn up to here."""


def drift(document: Mapping[str, Any]) -> Figure:
    """Of `ddnn_lab.drifting.replay`'s document: a panel of disagreement for each exit, one of evidence."""
    promised, points = document["policy"]["promised"], document["points"]
    figure, every = panels(len(promised) + 1, height=2.4 * (len(promised) + 1) + 0.6)
    for on, exit in zip(every, promised, strict=False):
        _disagreement(on, document, exit)
    evidence, x = every[-1], [point["event"] for point in points]
    for exit in promised:
        values = [point["exits"][exit]["e_value"] for point in points]
        evidence.plot(x, np.clip(values, 1e-3, _MOST), color=COLOURS[exit], label=exit)
    evidence.axhline(document["limit"], color=COLOURS["other"], linestyle="--", linewidth=1, label="alarm")
    evidence.set_yscale("log")
    name(evidence, "Evidence against the promise (e-value)", "event of the stream", "")
    for on in every:
        if document["begins"] is not None:
            on.axvline(document["begins"], color=COLOURS["device"], linewidth=1, linestyle=":")
        if document["alarm"]:
            on.axvline(document["alarm"]["event"], color=COLOURS["other"], linewidth=1)
        on.legend(fontsize=8, loc="upper left")
    return figure


def _disagreement(on: Axes, document: Mapping[str, Any], exit: str) -> None:
    """The audits' estimate with its interval, the truth of each window, and what is promised, in percent."""
    most, colour = 100 * document["policy"]["promised"][exit], COLOURS[exit]
    x, estimates = zip(*((point["event"], point["exits"][exit]) for point in document["points"]), strict=True)
    low, share, high = ([100 * estimate[key] for estimate in estimates] for key in ("low", "share", "high"))
    on.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    on.plot(x, share, color=colour, label="audits, with 95 % interval")
    shares = [(window["events"], window["exits"][exit]["truth"]) for window in document["windows"]]
    truths = [(events, 100 * truth) for events, truth in shares if truth is not None]
    for place, (events, truth) in enumerate(truths):
        label = "_" if place else "true, by window"
        on.hlines(truth, *events, color=COLOURS["overall"], linewidth=1.2, label=label)
    on.axhline(most, color=COLOURS["other"], linestyle="--", linewidth=1, label="promised at most")
    on.set_ylim(0, min(100.0, 1.6 * max([most, *(truth for _, truth in truths), *share[9:]])))
    name(on, f"Answers of the {exit} exit that are not the cloud's", "", "%")
