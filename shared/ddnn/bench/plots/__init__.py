"""The plots of a study, made of `results.json` alone."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from ddnn.bench.plots import devices, exits, traffic
from ddnn.seal import write_atomically

__all__ = ["PLOTS", "write_plots"]

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
            # Without the version of its maker the same results give the same file.
            draw_to = partial(figure.savefig, format="png", metadata={"Software": None})
            write_atomically(folder / f"{name}.png", draw_to)
            drawn.append(name)
    return drawn
