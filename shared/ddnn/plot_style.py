"""The style of all plots: sizes, colours, and bare axes."""

from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "name", "panels"]

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
