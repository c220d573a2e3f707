"""The plots of a study, made of `results.json` alone."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ddnn.seal import write_atomically
from ddnn_lab.plots import devices, exits, traffic

__all__ = ["PLOTS", "save", "write_plots"]

COLOURS: Final = 96
"""In a picture."""

PLOTS: Final[dict[str, Callable[[Mapping[str, Any]], Figure | None]]] = {
    "bytes": traffic.against_bytes,
    "lost": devices.lost,
    "added": devices.added,
    "thresholds": exits.thresholds,
    "reliability": exits.reliability,
    "filters": traffic.filters,
}
"""Every plot by the name of its file."""


def write_plots(results: Mapping[str, Any], folder: Path) -> list[str]:
    """Draw what there are runs for into `folder`, as PNG; return the names."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, draw in PLOTS.items():
        figure = draw(results)
        if figure is not None:
            save(figure, folder / f"{name}.png")
            drawn.append(name)
    return drawn


def save(figure: Figure, file: Path) -> None:
    """Write a PNG, atomically."""
    write_atomically(file, partial(_save, figure))


def _save(figure: Figure, file: Path) -> None:
    """As a PNG of few colours, a third of the size; without time and version: the same results give the same file."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    picture = Image.frombytes("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]
    picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)
