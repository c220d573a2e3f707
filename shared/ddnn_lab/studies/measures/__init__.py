"""What is measured of a trained network: each measure by its name, with a version of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ddnn_lab.studies.measures.alternatives import classifiers, jpeg
from ddnn_lab.studies.measures.devices import one_lost, subsets, votes
from ddnn_lab.studies.measures.exits import confidence, exits
from ddnn_lab.studies.measures.subject import Subject, keep_scores
from ddnn_lab.studies.measures.thresholds import frontier, thresholds

__all__ = ["MEASURES", "Measure", "Subject"]


@dataclass(frozen=True)
class Measure:
    """A function of a trained network; a result of another version is measured again, without training again."""

    version: int
    of: Callable[[Subject], Any]


MEASURES: Final[dict[str, Measure]] = {
    "exits": Measure(3, exits),
    "one_lost": Measure(1, one_lost),
    "subsets": Measure(1, subsets),
    "confidence": Measure(1, confidence),
    "thresholds": Measure(1, thresholds),
    "frontier": Measure(1, frontier),
    "votes": Measure(1, votes),
    "jpeg": Measure(1, jpeg),
    "scores": Measure(1, keep_scores),
    "classifiers": Measure(1, classifiers),
}
