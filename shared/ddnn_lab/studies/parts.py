"""The parts of a study: which networks each trains, and what comes out."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from ddnn.bundle import Bundle
from ddnn.errors import BadData, Infeasible
from ddnn.evaluation import decide
from ddnn.tuning import tune
from ddnn.types import Exit, Tier
from ddnn_lab.studies.intervals import gathered, paired, sampled, values
from ddnn_lab.studies.job import Record, Replicate
from ddnn_lab.studies.planner import Planner, Variant
from ddnn_lab.studies.study import Changes, PartName
from ddnn_lab.studies.subject import kept_scores

__all__ = ["PART", "Part", "part_results", "part_variants"]

Variants = dict[str, Variant]
Made = Mapping[str, Sequence[Record]]  #: the finished runs of each variant
Number = Callable[[Mapping[str, Any]], float | None]  #: one number of a run's measures; None where it has none
Results = Callable[[Planner, Made], dict[str, Any] | None]

JOINT: Final = Variant(
    "joint", measures=("exits", "one_lost", "subsets", "confidence", "thresholds", "frontier", "votes", "scores")
)
"""The study's own network, all exits trained together."""
BASELINES: Final = Variant("baselines", measures=("classifiers",), trained=False)
"""The classifiers that are no networks."""
RECIPE: Final = Variant("the recipe itself")
"""What ablations are compared with: the study's own recipe, at the ablations' own seeds and epochs."""
RAW: Final = Changes(
    network={"device_section": False, "edge_section": False, "blocks": "float", "edges": [], "shared_weights": False},
    training={"device_dropout": 0.0},
)
"""The paper's configuration (a), trained for the case that all views are there."""
LAST: Final = 128  #: filters of the block that sees all views
AGGREGATIONS: Final = {"MP": "max", "AP": "mean", "CC": "concat"}  #: the paper's names


def _overall(measures: Mapping[str, Any]) -> float:
    return float(measures["exits"]["overall"]["accuracy"])


def _always(exit: Exit) -> Number:
    """Accuracy if `exit` answers every event."""
    return lambda measures: measures["exits"]["always"].get(exit.value, {}).get("accuracy")


def _vote(measures: Mapping[str, Any]) -> float | None:
    return float(measures["votes"]["bar"]["accuracy"]) if measures["votes"] else None


def _one_lost(measures: Mapping[str, Any]) -> float | None:
    return float(measures["one_lost"]["mean"]["accuracy"]) if measures["one_lost"] else None


def _separate_devices(planner: Planner) -> Variants:
    """One training with the devices' losses alone: as their sections share nothing, each is trained by itself."""
    alone = Variant("each device alone", training=_only(Exit.DEVICE), measures=("exits", "votes"))
    return {"devices": alone} if Exit.LOCAL in planner.exits else {}


def _uncut(planner: Planner) -> Variants:
    """The uncut float network over all raw views: what a cloud would run if views cost nothing to send.

    None where views differ in shape, as nothing joins them. Over images its cloud does to each view what a device does,
    in float, then joins them in a block of `LAST` filters.
    """
    if len({(view.shape, view.dtype) for view in planner.network.views}) > 1:
        return {}
    before = [RAW]
    if all(len(view.shape) == 3 for view in planner.network.views):
        device = planner.network.config.device.filters
        filters = [*(planner.devices * width for width in device), LAST]
        before.append(Changes(network={"cloud": {"flat": False, "apart": len(device), "filters": filters}}))
    measures = ("exits", "confidence", "one_lost", "jpeg")
    return {"uncut": Variant("uncut float network", before=tuple(before), measures=measures)}


def _separate_exits(planner: Planner) -> Variants:
    """One training for each fused exit, with its loss alone; none where there is only one exit."""
    return {
        exit.value: Variant(f"{exit} exit alone", training=_only(exit), measures=("exits", "scores"))
        for exit in planner.exits
        if len(planner.exits) > 1
    }


def _only(exit: Exit) -> dict[str, float]:
    """Keys of `[training]` that let one exit learn alone, from labels alone."""
    alone = {f"{other}_weight": float(other is exit) for other in Exit} | {"distil": 0.0}  # it has no teacher
    return alone if exit is Exit.CLOUD else {**alone, "patience": 0}  # nor does it wait for the cloud


def _without(planner: Planner) -> Variants:
    """One for each device that is left out; none for a lone device."""
    every = range(planner.devices if planner.devices > 1 else 0)
    return {
        str(lost): _of(planner, f"without device {lost}", [device for device in every if device != lost])
        for lost in every
    }


def _added(planner: Planner) -> Variants:
    """The first 1 … D devices in order of their accuracy alone; none as long as no joint run is made."""
    order = _worst_first(planner)
    return {
        str(count): _of(
            planner, f"the {count} worst devices" if count > 1 else "the worst device", sorted(order[:count])
        )
        for count in range(1, len(order) + 1)
    }


def _worst_first(planner: Planner) -> list[int]:
    """The devices by their own exit's accuracy in the joint network, on validation, lowest first."""
    first = [record for record in planner.records("joint", JOINT) if record.job.seed == planner.study.seeds[0]]
    if not first or Exit.LOCAL not in planner.exits:
        return []
    by_run = [record.measures["exits"]["validation"]["device"]["accuracy"] for record in first]
    means = [fmean(accuracy or 0.0 for accuracy in of_device) for of_device in zip(*by_run, strict=True)]
    return sorted(range(len(means)), key=means.__getitem__)


def _of(planner: Planner, label: str, devices: list[int]) -> Variant:
    """The study's network with these of its own devices, each still at its edge."""
    own = list(planner.network.config.devices)
    network: dict[str, Any] = {"devices": own}
    if len(devices) < planner.devices:
        left = ([devices.index(device) for device in group if device in devices] for group in planner.network.edges)
        edges = [group for group in left if group]
        network = {"devices": [own[device] for device in devices] if own else devices, "edges": edges * bool(edges[1:])}
    return Variant(label, network=network, measures=("exits",))


def _filters(planner: Planner) -> Variants:
    """One for each number of filters; their size stays that of the study's network."""
    if (features := planner.topology.features(Tier.DEVICE)) is None:
        return {}
    return {
        str(count): Variant(f"filters: {count}", network=_sending(planner, features.shape, count), measures=("exits",))
        for count in planner.study.parts.filters.values
    }


def _sending(planner: Planner, cut: tuple[int, ...], count: int) -> dict[str, Any]:
    """Keys of `[network]` that make the devices send `count` filters, or 8 × `count` bits of a dense cut."""
    if len(cut) == 1:
        return {} if cut[0] == 8 * count else {"device": {"cut_width": 8 * count}}
    if cut[0] == count:
        return {}
    # The places of a filter are what the study's own network has: bits grow with the filters alone.
    device: dict[str, Any] = {"cut_filters": count, "cut_bits": count * math.prod(cut[1:])}
    own = planner.study.recipe(planner.study.settings("joint")).network.device
    return {"device": device if own.tail else {**device, "filters": [*own.filters[:-1], count]}}


def _pairs(planner: Planner) -> Variants:
    """The nine pairs local–cloud, in the paper's configuration (c)."""
    network = {"edge_section": False, "edges": []}
    return {
        (label := f"{local}-{cloud}"): Variant(
            label, network={**network, "local_fusion": below, "cloud_fusion": above}, measures=("exits",)
        )
        for local, below in AGGREGATIONS.items()
        for cloud, above in AGGREGATIONS.items()
        if Exit.LOCAL in planner.exits
    }


def _ablations(planner: Planner) -> Variants:
    """The recipe itself, then one for each entry of the study."""
    changed = {
        entry.name: Variant(entry.name, network=entry.network, training=entry.training)
        for entry in planner.study.ablations
    }
    return {"": RECIPE, **changed} if changed else {}


def _whole(planner: Planner) -> Variants:
    """The network with nothing lost at the devices' cut, which of a backbone is what its edge makes of it uncut."""
    config = planner.network.config
    if not (config.backbone and config.edge_section):
        return {}
    network = {"device": {"bottleneck": 0, "cut_codec": "float32"}}
    return {"whole": Variant("features whole", network=network, measures=("exits", "one_lost"))}


def _each(planner: Planner, made: Made) -> dict[str, Any] | None:
    """The measures of each variant over its runs; None where none is made."""
    results = {name: gathered(records) for name, records in made.items()}
    return results if any(results.values()) else None


def _alone(planner: Planner, made: Made) -> dict[str, Any] | None:
    """The measures of the only variant."""
    return gathered([record for records in made.values() for record in records])


def _below_joint(key: str, number: Number) -> Results:
    """The measures of the only variant, and as `key` how far the joint network's overall accuracy is above `number`."""

    def results(planner: Planner, made: Made) -> dict[str, Any] | None:
        joint = values(planner.records("joint", JOINT), _overall)
        below = {replicate: value for records in made.values() for replicate, value in values(records, number).items()}
        document = _alone(planner, made)
        return document and {**document, key: paired(joint, below)}

    return results


def _baselines(planner: Planner, made: Made) -> dict[str, Any] | None:
    document = _alone(planner, made)
    return document and {**document.pop("classifiers"), **document}


def _of_exits(planner: Planner, made: Made) -> dict[str, Any] | None:
    """Accuracy of each exit trained alone, and the paired difference joint − separate, of each exit and overall."""
    joint, document, fleets = planner.records("joint", JOINT), dict[str, Any](), dict[Replicate, dict[str, Path]]()
    for exit in [exit for exit in planner.exits if made.get(exit.value)]:
        alone, events = values(made[exit], _always(exit)), int(made[exit][0].measures["exits"]["events"])
        difference = paired(values(joint, _always(exit)), alone)
        document[exit.value] = {"accuracy": sampled(alone, events=events), "difference": difference}
        for record in made[exit]:
            fleets.setdefault(record.job.replicate, {})[exit.value] = record.folder
    if not document:
        return None
    fused = {
        record.job.replicate: _together(record.folder, tuple(fleet.items()), record.job.drop)
        for record in joint
        if len(fleet := fleets.get(record.job.replicate, {})) == len(planner.exits)
    }
    together = {replicate: accuracy for replicate, accuracy in fused.items() if accuracy is not None}
    difference = paired(values(joint, _overall), together)
    return {"exits": document, "overall": {"accuracy": sampled(together, events=events), "difference": difference}}


@cache
def _together(joint: Path, parts: tuple[tuple[str, Path], ...], drop: float) -> float | None:
    """Accuracy on test of a fleet whose exits are separate networks, tuned like the joint one."""
    validation, test = (
        replace(
            kept_scores(joint, split), **{exit: getattr(kept_scores(folder, split), exit) for exit, folder in parts}
        )
        for split in ("validation", "test")
    )
    try:
        policy = tune(validation, Bundle.open(joint / "bundle").policy, max_accuracy_drop=drop)
    except (BadData, Infeasible):
        return None
    return decide(test, policy).accuracy(test.y)


def _first_devices(planner: Planner, made: Made) -> dict[str, Any] | None:
    """Accuracy by how many devices there are; `order` says which."""
    first = [gathered(records) for records in made.values()]
    return {"order": [str(device) for device in _worst_first(planner)], "first": first} if any(first) else None


def _changes(planner: Planner, made: Made) -> dict[str, Any] | None:
    """Each change's accuracy, and its paired difference to the study's own recipe."""
    numbers: dict[str, Number] = {"overall": _overall, **{exit.value: _always(exit) for exit in planner.exits}}
    numbers["one lost, mean"] = _one_lost
    document = {}
    for name, records in made.items():
        if name and (measures := gathered(records)):
            difference = {key: paired(values(records, of), values(made[""], of)) for key, of in numbers.items()}
            document[name] = {**measures, "difference": difference}
    return document or None


def _of_measure(name: str) -> Results:
    """One measure of the study's own network; None where it has none."""

    def results(planner: Planner, made: Made) -> dict[str, Any] | None:
        document = _alone(planner, {key: [r for r in records if r.measures[name]] for key, records in made.items()})
        return document and {**document[name], "seeds": document["seeds"]}

    return results


@dataclass(frozen=True)
class Part:
    """One part: its variants, as far as they are known by now, and its results, as far as its runs are made."""

    variants: Callable[[Planner], Variants]
    results: Results = _each
    few: bool = True  #: whether the study's `most` counts for it


PART: Final[dict[PartName, Part]] = {
    "joint": Part(lambda _: {"joint": JOINT}, _alone),
    "separate_devices": Part(_separate_devices, _below_joint("joint_above_vote", _vote)),
    "uncut": Part(_uncut, _below_joint("joint_above", _overall)),
    "separate_exits": Part(_separate_exits, _of_exits, few=False),
    "baselines": Part(lambda _: {"baselines": BASELINES}, _baselines),
    "without": Part(_without),
    "added": Part(_added, _first_devices),
    "filters": Part(_filters),
    "pairs": Part(_pairs),
    "ablations": Part(_ablations, _changes, few=False),
    "whole": Part(_whole, _alone),
    "site": Part(lambda _: {"joint": replace(JOINT, measures=("site",))}, _of_measure("site")),
    "pictures": Part(lambda _: {"joint": replace(JOINT, measures=("pictures",))}, _of_measure("pictures")),
}
"""Every part by its name, what matters most first."""


def part_variants(planner: Planner, name: PartName) -> Variants:
    """What a part trains, by the names in its results: as many as the study wants."""
    part = PART[name]
    return dict(islice(part.variants(planner).items(), planner.study.most if part.few else None))


def part_results(planner: Planner, name: PartName) -> dict[str, Any] | None:
    """What came out of a part; None where no run is made."""
    variants = part_variants(planner, name)
    return PART[name].results(planner, {key: planner.records(name, variant) for key, variant in variants.items()})
