"""The parts of a study: which networks each trains, and what comes out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ddnn.bench.parts import joint
from ddnn.bench.planner import Planner, Variant
from ddnn.bench.study import PartName

__all__ = ["PART", "Part"]


@dataclass(frozen=True)
class Part:
    """One part: its variants, as far as they are known by now, and its results, as far as its runs are made."""

    variants: Callable[[Planner], list[Variant]]
    results: Callable[[Planner], dict[str, Any] | None]


PART: Final[dict[PartName, Part]] = {
    "joint": Part(joint.variants, joint.results),
}
"""Every part by its name, what matters most first."""
