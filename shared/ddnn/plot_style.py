"""The style of all plots: sizes, colours, and bare axes."""

import re
from io import StringIO
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "INK", "STYLE", "name", "panels", "svg"]

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
INK: Final = "#010203"
"""Stands for the page's own colour of text until the SVG is text."""
STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ddnn",
    "font.family": "sans-serif",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "grid.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


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


def svg(figure: Figure, label: str) -> str:
    """The same document gives the same text: no date, no chance in names; ids that several plots share are left out."""
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = text.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace(INK, "currentColor")
    drawn = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", drawn)
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    width, height = figure.get_size_inches() * 72
    drawn = re.sub(
        r'(<svg [^>]*?)width="[^"]+" height="[^"]+"', rf'\1width="{width:g}" height="{height:g}"', drawn, count=1
    )
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).strip()
