"""The network with one thing changed: features sent up, aggregation, anything that the study file names."""

import math
from collections.abc import Mapping
from typing import Any, Final

from ddnn.types import Exit, Tier
from ddnn_lab.studies.gather import gathered, paired, values
from ddnn_lab.studies.parts.joint import overall
from ddnn_lab.studies.planner import Planner, Variant

__all__ = ["ablations", "ablations_results", "filters", "filters_results", "pairs", "pairs_results"]

AGGREGATIONS: Final = {"MP": "max", "AP": "mean", "CC": "concat"}
"""The paper's names."""


def filters(planner: Planner) -> list[Variant]:
    """One for each number of filters; their size stays that of the study's network."""
    features = planner.topology.features(Tier.DEVICE)
    if features is None:
        return []
    values = planner.study.parts.filters.values
    return planner.few(
        [
            Variant(f"filters: {value}", network=_sending(planner, features.shape, value), measures=("exits",))
            for value in values
        ]
    )


def _sending(planner: Planner, cut: tuple[int, ...], value: int) -> dict[str, Any]:
    """Keys of `[network]` that make the devices send `value` filters, or 8 × `value` bits of a dense cut."""
    own = planner.study.recipe(planner.study.settings("joint")).network.device
    if len(cut) == 1:
        return {} if cut[0] == 8 * value else {"device": {"cut_width": 8 * value}}
    if cut[0] == value:
        return {}
    # The places of a filter are what the study's own network has: bits grow with the filters alone.
    device: dict[str, Any] = {"cut_filters": value, "cut_bits": value * math.prod(cut[1:])}
    if not own.tail:
        device["filters"] = [*own.filters[:-1], value]
    return {"device": device}


def filters_results(planner: Planner) -> dict[str, Any] | None:
    """Accuracy and bytes by the number of filters."""
    counts = planner.study.parts.filters.values
    found = {
        str(count): gathered(planner.records("filters", variant))
        for count, variant in zip(counts, filters(planner), strict=False)
    }
    return found if any(found.values()) else None


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
    found = {variant.label: gathered(planner.records("pairs", variant)) for variant in pairs(planner)}
    return found if any(found.values()) else None


RECIPE: Final = Variant("the recipe itself")
"""What ablations are compared with: the study's own recipe, at the ablations' own seeds and epochs."""


def ablations(planner: Planner) -> list[Variant]:
    """The recipe itself, then one for each entry of the study."""
    changed = [Variant(each.name, network=each.network, training=each.training) for each in planner.study.ablations]
    return [RECIPE, *changed] if changed else []


def ablations_results(planner: Planner) -> dict[str, Any] | None:
    """Each change's accuracy, and its paired difference to the study's own recipe."""
    recipe = planner.records("ablations", RECIPE)
    found = {}
    for variant in ablations(planner)[1:]:
        records = planner.records("ablations", variant)
        told = gathered(records)
        if told:
            found[variant.label] = {
                **told,
                "difference": {
                    name: paired(values(records, of), values(recipe, of)) for name, of in _compared(planner).items()
                },
            }
    return found or None


def _compared(planner: Planner) -> dict[str, Any]:
    def alone(exit: Exit) -> Any:
        def of(measures: Mapping[str, Any]) -> float | None:
            told = measures["exits"]["always"].get(exit.value)
            return float(told["accuracy"]) if told else None

        return of

    def one_lost(measures: Mapping[str, Any]) -> float | None:
        return float(measures["one_lost"]["mean"]["accuracy"]) if measures["one_lost"] else None

    return {"overall": overall, **{exit.value: alone(exit) for exit in planner.exits}, "one lost, mean": one_lost}
