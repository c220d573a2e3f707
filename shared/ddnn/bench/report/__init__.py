"""`report.md`: the tables of a study, made of `results.json` alone."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ddnn.bench.report import frame, joint

__all__ = ["report"]

SECTIONS: Final[tuple[Callable[[Mapping[str, Any]], Iterator[str]], ...]] = (
    frame.head,
    joint.summary,
    joint.lost,
    joint.subsets,
    frame.times,
)


def report(results: Mapping[str, Any]) -> str:
    """The whole page; what no run was made for is left out."""
    return "\n".join(block.rstrip("\n") + "\n" for section in SECTIONS for block in section(results))
