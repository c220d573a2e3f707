"""How a number with its interval is drawn, in the style of all plots."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddnn.plot_style import COLOURS, name, panels

__all__ = ["COLOURS", "axes", "fit", "line", "name", "panels"]

Spread = Mapping[str, Any]


def axes(title: str, x: str, y: str, *, height: float = 4.8) -> tuple[Figure, Axes]:
    """A figure with one pair of axes."""
    figure, found = panels(1, height=height)
    name(found[0], title, x, y)
    return figure, found[0]


def line(
    on: Axes,
    x: Sequence[float],
    y: Sequence[Spread | None],
    label: str,
    colour: str,
    *,
    marker: str = "o",
    style: str = "-",
) -> None:
    """Shares as percent over `x`, each with its interval; what is missing is left out."""
    there = [(place, value) for place, value in zip(x, y, strict=True) if value]
    if not there:
        return
    places = [place for place, _ in there]
    on.plot(
        places,
        [100 * value["mean"] for _, value in there],
        style,
        marker=marker,
        markersize=4,
        label=label,
        color=colour,
    )
    # Two values span an interval of twelve deviations: nothing else could be seen.
    told = [(place, value) for place, value in there if value["low"] is not None and len(value["values"]) != 2]
    if told:
        mean, low, high = (
            [100 * min(max(value[key], 0.0), 1.0) for _, value in told] for key in ("mean", "low", "high")
        )
        below, above = np.subtract(mean, low), np.subtract(high, mean)
        on.errorbar(
            [place for place, _ in told], mean, [below, above], fmt="none", ecolor=colour, elinewidth=1, alpha=0.4
        )


def fit(on: Axes) -> None:
    """Let the lines fill the height; intervals may leave it."""
    shown = [float(value) for each in on.get_lines() for value in np.asarray(each.get_ydata(), dtype=float)]
    if shown:
        room = max(0.12 * (max(shown) - min(shown)), 0.5)
        on.set_ylim(max(min(shown) - room, -2.0), min(max(shown) + room, 101.0))
