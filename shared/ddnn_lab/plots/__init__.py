"""The laboratory's plots: how a number with its interval is drawn, and how a picture is kept."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ddnn.plot_style import COLOURS
from ddnn.seal import write_atomically
from ddnn_lab.reporting import Spread

__all__ = ["fit", "line", "save"]

SHADES: Final = 96  #: colours in a picture


def line(
    on: Axes,
    x: Sequence[float],
    y: Sequence[Spread | None],
    label: str,
    colour: str,
    marker: str = "o",
    style: str = "-",
) -> None:
    """Shares as percent over `x`, each with its interval, in one of `COLOURS`; what is missing is left out."""
    drawn = [(place, value) for place, value in zip(x, y, strict=True) if value]
    if not drawn:
        return
    colour, means = COLOURS[colour], [100 * value["mean"] for _, value in drawn]
    on.plot([place for place, _ in drawn], means, style, marker=marker, markersize=4, label=label, color=colour)
    # Two values span an interval of twelve deviations: nothing else could be seen.
    known = [(place, value) for place, value in drawn if value["low"] is not None and len(value["values"]) != 2]
    if known:
        mean, low, high = ([100 * min(max(value[key], 0), 1) for _, value in known] for key in ("mean", "low", "high"))
        bars = [np.subtract(mean, low), np.subtract(high, mean)]
        on.errorbar([place for place, _ in known], mean, bars, fmt="none", ecolor=colour, elinewidth=1, alpha=0.4)


def fit(on: Axes) -> None:
    """Let the lines fill the height; intervals may leave it."""
    shown = [float(value) for curve in on.get_lines() for value in np.asarray(curve.get_ydata(), dtype=float)]
    if shown:
        room = max(0.12 * (max(shown) - min(shown)), 0.5)
        on.set_ylim(max(min(shown) - room, -2.0), min(max(shown) + room, 101.0))


def save(figure: Figure, file: Path) -> None:
    """Write a PNG, atomically: of few colours, a third of the size, and the same for the same results."""
    write_atomically(file, partial(_save, figure))


def _save(figure: Figure, file: Path) -> None:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    picture = Image.frombytes("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]
    picture.convert("RGB").quantize(SHADES, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)
