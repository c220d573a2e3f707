"""The parts of a study: which networks each trains, and what comes out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ddnn_lab.studies.parts import classifiers, devices, joint, separate, uncut, variations
from ddnn_lab.studies.planner import Planner, Variant
from ddnn_lab.studies.study import PartName

__all__ = ["PART", "Part"]


@dataclass(frozen=True)
class Part:
    """One part: its variants, as far as they are known by now, and its results, as far as its runs are made."""

    variants: Callable[[Planner], list[Variant]]
    results: Callable[[Planner], dict[str, Any] | None]


PART: Final[dict[PartName, Part]] = {
    "joint": Part(joint.variants, joint.results),
    "separate_devices": Part(separate.devices, separate.devices_results),
    "uncut": Part(uncut.variants, uncut.results),
    "separate_exits": Part(separate.exits, separate.exits_results),
    "baselines": Part(classifiers.variants, classifiers.results),
    "without": Part(devices.without, devices.without_results),
    "added": Part(devices.added, devices.added_results),
    "filters": Part(variations.filters, variations.filters_results),
    "pairs": Part(variations.pairs, variations.pairs_results),
    "ablations": Part(variations.ablations, variations.ablations_results),
}
"""Every part by its name, what matters most first."""
