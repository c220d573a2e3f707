"""The shapes that follow from a configuration."""

import math
from typing import Any

import pytest

from ddnn.errors import BadConfig
from ddnn.network import NetworkConfig, Plan, SectionConfig, ViewSpec


def plan(*shapes: tuple[int, ...], **config: Any) -> Plan:
    return Plan.of(NetworkConfig(**config), [ViewSpec(shape, False) for shape in shapes], 4)


@pytest.mark.parametrize(
    ("shape", "family", "axes"),
    [((1, 16, 10), "image", 3), ((9, 63), "series", 2), ((20,), "dense", 1)],
)
def test_the_block_family_follows_the_shape_of_the_view(shape: tuple[int, ...], family: str, axes: int) -> None:
    made = plan(shape, shape)
    assert [section.family for section in made.devices] == [family] * 2
    assert len(made.device_cut or ()) == axes
    assert made.cloud.family == made.edge_sections[0].family == family


@pytest.mark.parametrize("shape", [(1, 16, 10), (3, 32, 32), (3, 64, 64), (9, 63), (2, 500), (300,), (1, 1, 1), (5, 1)])
def test_features_fit_the_bits_allowed(shape: tuple[int, ...]) -> None:
    made = plan(shape, shape)
    assert made.device_cut is not None
    assert made.edge_cut is not None
    assert math.prod(made.device_cut) <= made.config.device.cut_bits
    assert math.prod(made.edge_cut) <= made.config.edge.cut_bits


def test_devices_of_unequal_shapes_all_end_in_one_dense_cut() -> None:
    made = plan((1, 16, 10), (9, 63), (20,))
    assert {section.cut for section in made.devices} == {(128,)}
    assert [section.family for section in made.devices] == ["image", "series", "dense"]
    assert made.edge_sections[0].family == made.cloud.family == "dense"


def test_the_family_may_be_set_to_dense() -> None:
    assert plan((1, 8, 8), family="dense").devices[0].input == (64,)


def test_concatenation_stacks_channels_and_the_others_do_not() -> None:
    assert plan((1, 8, 8), (1, 8, 8), edge_fusion="concat").edge_sections[0].input[0] == 16
    assert plan((1, 8, 8), (1, 8, 8), edge_fusion="max").edge_sections[0].input[0] == 8


def test_without_edge_sections_the_cloud_fuses_the_devices() -> None:
    made = plan((5,), (5,), (5,), edge_section=False)
    assert made.edge_cut is None
    assert made.cloud.input == (3 * 128,)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            {"edges": ((0, 1), (1, 2))},
            r"network.edges is \[\[0, 1\], \[1, 2\]\]; expected each of the devices 0..2 once",
        ),
        ({"edges": ((0, 1),)}, "each of the devices 0..2 once"),
        ({"family": "series"}, "network.family is 'series', but views are"),
        ({"device": SectionConfig(cut_bits=4)}, "cut_bits is 4, less than cut_filters 8"),
    ],
)
def test_what_does_not_fit_the_views_is_named(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadConfig, match=sentence):
        plan((1, 8, 8), (1, 8, 8), (1, 8, 8), **config)
