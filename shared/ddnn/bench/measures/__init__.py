"""What is measured of a trained network: each measure by its name, with a version of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ddnn.bench.measures.exits import exits
from ddnn.bench.measures.lost import one_lost, subsets
from ddnn.bench.measures.subject import Subject

__all__ = ["MEASURES", "Measure", "Subject"]


@dataclass(frozen=True)
class Measure:
    """A function of a trained network; a result of another version is measured again, without training again."""

    version: int
    of: Callable[[Subject], dict[str, Any] | None]


MEASURES: Final[dict[str, Measure]] = {
    "exits": Measure(1, exits),
    "one_lost": Measure(1, one_lost),
    "subsets": Measure(1, subsets),
}
