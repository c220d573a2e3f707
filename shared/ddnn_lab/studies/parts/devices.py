"""Fewer devices from the start: trained again without each of them, and with more and more, worst first."""

from statistics import fmean
from typing import Any

from ddnn.types import Exit
from ddnn_lab.studies.gather import gathered
from ddnn_lab.studies.parts.joint import JOINT
from ddnn_lab.studies.planner import Planner, Variant

__all__ = ["added", "added_results", "without", "without_results"]


def without(planner: Planner) -> list[Variant]:
    """One for each device that is left out."""
    count = planner.devices
    everyone = range(count)
    left_out = [[device for device in everyone if device != lost] for lost in everyone] if count > 1 else []
    names = [f"without device {lost}" for lost in range(len(left_out))]
    return planner.few(
        [_of(planner, name, devices) for name, devices in zip(names, left_out, strict=True)],
    )


def without_results(planner: Planner) -> dict[str, Any] | None:
    """Accuracy by the device that is left out, as far as the runs are made."""
    found = {str(lost): gathered(planner.records("without", each)) for lost, each in enumerate(without(planner))}
    return found if any(found.values()) else None


def added(planner: Planner) -> list[Variant]:
    """The first 1 … D devices in order of their accuracy alone; none as long as no joint run is made."""
    order = worst_first(planner)
    variants = [
        _of(planner, f"the {count} worst devices" if count > 1 else "the worst device", sorted(order[:count]))
        for count in range(1, len(order) + 1)
    ]
    return planner.few(variants)


def added_results(planner: Planner) -> dict[str, Any] | None:
    """Accuracy by how many devices there are; `order` says which."""
    found = [gathered(planner.records("added", variant)) for variant in added(planner)]
    order = worst_first(planner)
    return {"order": [str(device) for device in order], "first": found} if any(found) else None


def worst_first(planner: Planner) -> list[int]:
    """The devices by their own exit's accuracy in the joint network, on validation, lowest first."""
    records = planner.records("joint", JOINT)
    first = [record for record in records if record.job.seed == planner.study.seeds[0]]
    if not first or Exit.LOCAL not in planner.exits:
        return []
    told = [record.measures["exits"]["validation"]["device"]["accuracy"] for record in first]
    means = [fmean(value or 0.0 for value in values) for values in zip(*told, strict=True)]
    return sorted(range(len(means)), key=means.__getitem__)


def _of(planner: Planner, label: str, places: list[int]) -> Variant:
    """The study's network with the devices at these places among its own, each still at its edge."""
    own = list(planner.plan.config.devices)
    if len(places) == planner.devices:
        return Variant(label, network={"devices": own}, measures=("exits",))
    left = ([places.index(place) for place in group if place in places] for group in planner.plan.edges)
    edges = [group for group in left if group]
    network = {"devices": [own[place] for place in places] if own else places, "edges": edges if edges[1:] else []}
    return Variant(label, network=network, measures=("exits",))
