"""The network with one thing changed: features sent up, aggregation, anything that the study file names."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from ddnn.types import Exit, Tier
from ddnn_lab.studies.intervals import gathered, paired, values
from ddnn_lab.studies.parts.apart import always, overall
from ddnn_lab.studies.planner import Planner, Variant

__all__ = ["ablations", "ablations_results", "filters", "filters_results", "pairs", "pairs_results"]

AGGREGATIONS: Final = {"MP": "max", "AP": "mean", "CC": "concat"}
"""The paper's names."""


def filters(planner: Planner) -> list[Variant]:
    """One for each number of filters; their size stays that of the study's network."""
    features = planner.topology.features(Tier.DEVICE)
    if features is None:
        return []
    sending = {count: _sending(planner, features.shape, count) for count in planner.study.parts.filters.values}
    return planner.few(
        [Variant(f"filters: {count}", network=keys, measures=("exits",)) for count, keys in sending.items()]
    )


def _sending(planner: Planner, cut: tuple[int, ...], count: int) -> dict[str, Any]:
    """Keys of `[network]` that make the devices send `count` filters, or 8 × `count` bits of a dense cut."""
    own = planner.study.recipe(planner.study.settings("joint")).network.device
    if len(cut) == 1:
        return {} if cut[0] == 8 * count else {"device": {"cut_width": 8 * count}}
    if cut[0] == count:
        return {}
    # The places of a filter are what the study's own network has: bits grow with the filters alone.
    device: dict[str, Any] = {"cut_filters": count, "cut_bits": count * math.prod(cut[1:])}
    if not own.tail:
        device["filters"] = [*own.filters[:-1], count]
    return {"device": device}


def filters_results(planner: Planner) -> dict[str, Any] | None:
    """Accuracy and bytes by the number of filters."""
    counts = map(str, planner.study.parts.filters.values)
    return planner.results("filters", dict(zip(counts, filters(planner), strict=False)))


def pairs(planner: Planner) -> list[Variant]:
    """The nine pairs local–cloud, in the paper's configuration (c)."""
    if Exit.LOCAL not in planner.exits:
        return []
    return planner.few(
        [
            Variant(
                f"{local}-{cloud}",
                network={"edge_section": False, "edges": [], "local_fusion": below, "cloud_fusion": above},
                measures=("exits",),
            )
            for local, below in AGGREGATIONS.items()
            for cloud, above in AGGREGATIONS.items()
        ]
    )


def pairs_results(planner: Planner) -> dict[str, Any] | None:
    """Accuracy by the pair's name."""
    return planner.results("pairs", {variant.label: variant for variant in pairs(planner)})


RECIPE: Final = Variant("the recipe itself")
"""What ablations are compared with: the study's own recipe, at the ablations' own seeds and epochs."""


def ablations(planner: Planner) -> list[Variant]:
    """The recipe itself, then one for each entry of the study."""
    changed = [
        Variant(ablation.name, network=ablation.network, training=ablation.training)
        for ablation in planner.study.ablations
    ]
    return [RECIPE, *changed] if changed else []


def ablations_results(planner: Planner) -> dict[str, Any] | None:
    """Each change's accuracy, and its paired difference to the study's own recipe."""
    numbers: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
        "overall": overall,
        **{exit.value: always(exit) for exit in planner.exits},
        "one lost, mean": _one_lost,
    }
    recipe, document = planner.records("ablations", RECIPE), {}
    for variant in ablations(planner)[1:]:
        records = planner.records("ablations", variant)
        if measures := gathered(records):
            difference = {name: paired(values(records, of), values(recipe, of)) for name, of in numbers.items()}
            document[variant.label] = {**measures, "difference": difference}
    return document or None


def _one_lost(measures: Mapping[str, Any]) -> float | None:
    return float(measures["one_lost"]["mean"]["accuracy"]) if measures["one_lost"] else None
