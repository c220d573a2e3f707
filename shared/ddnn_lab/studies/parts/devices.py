"""Fewer devices from the start: trained again without each of them, and with more and more, worst first."""

from statistics import fmean
from typing import Any

from ddnn.types import Exit
from ddnn_lab.studies.intervals import gathered
from ddnn_lab.studies.parts.apart import JOINT
from ddnn_lab.studies.planner import Planner, Variant

__all__ = ["added", "added_results", "without", "without_results"]


def without(planner: Planner) -> list[Variant]:
    """One for each device that is left out; none for a lone device."""
    every = range(planner.devices if planner.devices > 1 else 0)
    return planner.few(
        [_of(planner, f"without device {lost}", [device for device in every if device != lost]) for lost in every]
    )


def without_results(planner: Planner) -> dict[str, Any] | None:
    """Accuracy by the device that is left out, as far as the runs are made."""
    return planner.results("without", {str(lost): variant for lost, variant in enumerate(without(planner))})


def added(planner: Planner) -> list[Variant]:
    """The first 1 … D devices in order of their accuracy alone; none as long as no joint run is made."""
    order = worst_first(planner)
    return planner.few(
        [
            _of(planner, f"the {count} worst devices" if count > 1 else "the worst device", sorted(order[:count]))
            for count in range(1, len(order) + 1)
        ]
    )


def added_results(planner: Planner) -> dict[str, Any] | None:
    """Accuracy by how many devices there are; `order` says which."""
    first = [gathered(planner.records("added", variant)) for variant in added(planner)]
    return {"order": [str(device) for device in worst_first(planner)], "first": first} if any(first) else None


def worst_first(planner: Planner) -> list[int]:
    """The devices by their own exit's accuracy in the joint network, on validation, lowest first."""
    seed = planner.study.seeds[0]
    first = [record for record in planner.records("joint", JOINT) if record.job.seed == seed]
    if not first or Exit.LOCAL not in planner.exits:
        return []
    by_run = [record.measures["exits"]["validation"]["device"]["accuracy"] for record in first]
    means = [fmean(accuracy or 0.0 for accuracy in of_device) for of_device in zip(*by_run, strict=True)]
    return sorted(range(len(means)), key=means.__getitem__)


def _of(planner: Planner, label: str, devices: list[int]) -> Variant:
    """The study's network with these of its own devices, each still at its edge."""
    own = list(planner.network.config.devices)
    if len(devices) == planner.devices:
        return Variant(label, network={"devices": own}, measures=("exits",))
    left = ([devices.index(device) for device in group if device in devices] for group in planner.network.edges)
    edges = [group for group in left if group]
    network = {"devices": [own[device] for device in devices] if own else devices, "edges": edges if edges[1:] else []}
    return Variant(label, network=network, measures=("exits",))
