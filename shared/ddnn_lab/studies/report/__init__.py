"""`report.md`: the tables of a study, made of `results.json` alone."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from ddnn_lab.studies.report import compare, devices, exits, frame, variations

__all__ = ["report"]

Section = Callable[[Mapping[str, Any]], Iterator[str]]
SECTIONS: Final[tuple[Section, ...]] = (
    frame.head,
    compare.summary,
    compare.claims,
    compare.differences,
    devices.lost,
    devices.subsets,
    devices.added,
    exits.thresholds,
    exits.frontier,
    exits.confidence,
    variations.filters,
    variations.pairs,
    variations.ablations,
    frame.times,
)
BELOW: Final[dict[Section, tuple[str, ...]]] = {
    devices.subsets: ("lost",),
    devices.added: ("added",),
    exits.thresholds: ("thresholds",),
    exits.frontier: ("bytes",),
    exits.confidence: ("reliability",),
    variations.filters: ("filters",),
}
"""Plots by the section that they stand below."""


def report(results: Mapping[str, Any], plots: Collection[str] = ()) -> str:
    """The whole page, with the plots that there are, under their tables; what no run was made for is left out."""
    blocks = []
    for section in SECTIONS:
        made = list(section(results))
        blocks += made
        blocks += [f"![{plot}](plots/{plot}.png)" for plot in BELOW.get(section, ()) if made and plot in plots]
    return "\n".join(block.rstrip("\n") + "\n" for block in blocks)
