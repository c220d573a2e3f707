"""What all plots share: size, colours, and how a number with its interval is drawn."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "axes", "fit", "line", "name", "panels"]

Spread = Mapping[str, Any]
COLOURS: Final = {
    "overall": "#111111",
    "device": "#8c8c8c",
    "local": "#e69f00",
    "edge": "#009e73",
    "cloud": "#0072b2",
    "other": "#d55e00",
    "another": "#cc79a7",
}
"""Okabe and Ito's, which colour-blind people tell apart."""
WIDTH_IN: Final = 8.0


def axes(title: str, x: str, y: str, *, height: float = 4.8) -> tuple[Figure, Axes]:
    """A figure with one pair of axes."""
    figure, found = panels(1, height=height)
    name(found[0], title, x, y)
    return figure, found[0]


def panels(count: int, *, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with several, `columns` in a row."""
    figure = Figure(figsize=(WIDTH_IN, height), dpi=100, layout="constrained")
    rows = -(-count // columns)
    made = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
    for each in made:
        each.grid(alpha=0.25, linewidth=0.6)
        each.spines[["top", "right"]].set_visible(False)
    return figure, made


def name(on: Axes, title: str, x: str, y: str) -> None:
    """Title and axis labels."""
    on.set_title(title, fontsize=11, loc="left")
    on.set_xlabel(x)
    on.set_ylabel(y)


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
