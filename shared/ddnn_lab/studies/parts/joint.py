"""The study's own network, all exits trained together."""

from collections.abc import Mapping
from typing import Any

from ddnn_lab.studies.gather import gathered
from ddnn_lab.studies.planner import Planner, Variant

__all__ = ["JOINT", "overall", "results", "variants"]

JOINT = Variant(
    "joint", measures=("exits", "one_lost", "subsets", "confidence", "thresholds", "frontier", "votes", "scores")
)


def variants(planner: Planner) -> list[Variant]:
    """One."""
    return [JOINT]


def results(planner: Planner) -> dict[str, Any] | None:
    """Every measure, over the runs."""
    return gathered(planner.records("joint", JOINT))


def overall(measures: Mapping[str, Any]) -> float:
    """The tuned accuracy of a run."""
    return float(measures["exits"]["overall"]["accuracy"])
