"""The study's own network, all exits trained together."""

from typing import Any

from ddnn.bench.gather import gathered
from ddnn.bench.planner import Planner, Variant

__all__ = ["JOINT", "results", "variants"]

JOINT = Variant("joint", measures=("exits", "one_lost", "subsets"))


def variants(planner: Planner) -> list[Variant]:
    """One."""
    return [JOINT]


def results(planner: Planner) -> dict[str, Any] | None:
    """Every measure, over the runs."""
    return gathered(planner.records("joint", JOINT))
