"""Baselines that are no networks."""

from typing import Any

from ddnn_lab.studies.gather import gathered
from ddnn_lab.studies.planner import Planner, Variant

__all__ = ["results", "variants"]


def variants(planner: Planner) -> list[Variant]:
    """One, of no training."""
    return [Variant("baselines", measures=("classifiers",), trained=False)]


def results(planner: Planner) -> dict[str, Any] | None:
    """Accuracy of each."""
    found = gathered(planner.records("baselines", variants(planner)[0]))
    return {**found.pop("classifiers"), **found} if found else None
