"""The parts of a study: which networks each trains, and what comes out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ddnn_lab.studies.intervals import gathered
from ddnn_lab.studies.parts import apart, devices, variations
from ddnn_lab.studies.planner import Planner, Variant
from ddnn_lab.studies.study import PartName

__all__ = ["PART", "Part"]


@dataclass(frozen=True)
class Part:
    """One part: its variants, as far as they are known by now, and its results, as far as its runs are made."""

    variants: Callable[[Planner], list[Variant]]
    results: Callable[[Planner], dict[str, Any] | None]


BASELINES: Final = Variant("baselines", measures=("classifiers",), trained=False)
"""The classifiers that are no networks."""


def _baselines(planner: Planner) -> dict[str, Any] | None:
    """Accuracy of each."""
    document = gathered(planner.records("baselines", BASELINES))
    return {**document.pop("classifiers"), **document} if document else None


PART: Final[dict[PartName, Part]] = {
    "joint": Part(lambda _: [apart.JOINT], lambda planner: gathered(planner.records("joint", apart.JOINT))),
    "separate_devices": Part(apart.devices, apart.devices_results),
    "uncut": Part(apart.uncut, apart.uncut_results),
    "separate_exits": Part(apart.exits, apart.exits_results),
    "baselines": Part(lambda _: [BASELINES], _baselines),
    "without": Part(devices.without, devices.without_results),
    "added": Part(devices.added, devices.added_results),
    "filters": Part(variations.filters, variations.filters_results),
    "pairs": Part(variations.pairs, variations.pairs_results),
    "ablations": Part(variations.ablations, variations.ablations_results),
}
"""Every part by its name, what matters most first."""
