"""What decoders made of the links, as a table, a page and a picture of a few views."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from ddnn.formatting import NONE, markdown, percent, table
from ddnn.plot_style import WIDTH_IN
from ddnn.seal import write_atomically
from ddnn.types import Floats
from ddnn_lab.plots import save
from ddnn_lab.privacy import Rebuilt
from ddnn_lab.reporting import render

__all__ = ["COLUMNS", "cells", "draw", "show", "write"]

Document = Mapping[str, Any]

COLUMNS: Final = ("link", "bytes", "PSNR, dB", "SSIM", "classifier", "JPEG bytes", "PSNR, dB", "SSIM", "classifier")
SHOWN: Final = 8  #: events in the picture
WIDEST: Final = 120


def cells(link: Document) -> list[str]:
    """A row of the table."""
    jpeg = link["jpeg"]
    return [link["link"], _bytes(link), *_near(link), *((_bytes(jpeg), *_near(jpeg)) if jpeg else [NONE] * 4)]


def _bytes(found: Document) -> str:
    return NONE if found["bytes"] is None else f"{found['bytes']:,.0f}"


def _near(found: Document) -> list[str]:
    numbers = ((found["psnr"], 1), (found["ssim"], 2))
    return [
        *(NONE if value is None else f"{value:.{digits}f}" for value, digits in numbers),
        percent(found["accuracy"]),
    ]


def show(results: Document) -> None:
    """Print the table."""
    shown = table(None, *COLUMNS)
    for link in results["links"]:
        shown.add_row(*cells(link))
    console = Console(highlight=False, width=WIDEST, soft_wrap=True)
    console.print(shown)
    console.print(
        f"classifier: how often a classifier of true views is right on the rebuilt ones, of true ones"
        f" {percent(results['accuracy_of_true_views'])}. The class alone: the mean view of the event's class."
    )
    if any(link["ssim"] is None for link in results["links"]):
        console.print("SSIM and JPEG are of images; these views are none.")


def write(results: Document, views: Sequence[Rebuilt], grid: tuple[int, int] | None, folder: Path) -> list[Path]:
    """Write everything into `folder` and return the files; a picture only of images."""
    folder.mkdir(parents=True, exist_ok=True)
    pictured = all(view.ndim == 4 for view in views[0].views)
    page = render("privacy.md", **results, table=markdown(COLUMNS, map(cells, results["links"])), pictured=pictured)
    texts = {"results.json": json.dumps(results, indent=1) + "\n", "report.md": page}
    for name, text in texts.items():
        write_atomically(folder / name, text)
    files = [folder / name for name in texts]
    if pictured:
        save(draw(views, grid), folder / "views.png")
        files.append(folder / "views.png")
    return files


def draw(views: Sequence[Rebuilt], grid: tuple[int, int] | None) -> Figure:
    """A few events, a row for the truth and for each link, the views of an event as `grid` (columns, rows) has them."""
    devices, count = len(views[0].views), min(SHOWN, len(views[0].views[0]))
    columns = grid[0] if grid and math.prod(grid) == devices else math.ceil(math.sqrt(devices))
    figure = Figure(figsize=(WIDTH_IN, 1.1 * len(views)), dpi=100, layout="constrained")
    for row, made in enumerate(views):
        for event in range(count):
            on = figure.add_subplot(len(views), count, row * count + event + 1)
            on.imshow(_side_by_side([view[event] for view in made.views], columns), cmap="gray", vmin=0, vmax=1)
            on.set_axis_off()
            if event == 0:
                on.set_title(made.name, fontsize=8, loc="left")
    return figure


def _side_by_side(views: Sequence[Floats], columns: int) -> Floats:
    """One picture (H, W, 3) of the views (C, H, W) of an event, a grey line between them."""
    height, width = (max(view.shape[axis] for view in views) + 1 for axis in (1, 2))
    picture = np.full((height * -(-len(views) // columns), width * columns, 3), 0.5, np.float32)
    for place, view in enumerate(views):
        top, left = place // columns * height, place % columns * width
        colours = np.moveaxis(view[:3] if view.shape[0] >= 3 else view[:1].repeat(3, axis=0), 0, 2)
        picture[top : top + view.shape[1], left : left + view.shape[2]] = colours
    return picture
