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
    made = plan(shape, shape, edge=SectionConfig(), cloud=SectionConfig())
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


def test_a_flat_section_is_dense() -> None:
    made = plan((1, 8, 8), (1, 8, 8), device=SectionConfig(flat=True, cut_width=20), edge=SectionConfig(flat=True))
    assert [section.family for section in (*made.devices, *made.edge_sections)] == ["dense"] * 3
    assert (made.devices[0].input, made.device_cut, made.edge_sections[0].input) == ((64,), (20,), (40,))


def test_concatenation_stacks_channels_and_the_others_do_not() -> None:
    edge = SectionConfig()
    assert plan((1, 8, 8), (1, 8, 8), edge_fusion="concat", edge=edge).edge_sections[0].input[0] == 16
    assert plan((1, 8, 8), (1, 8, 8), edge_fusion="max", edge=edge).edge_sections[0].input[0] == 8


def test_without_edge_sections_the_cloud_fuses_the_devices() -> None:
    made = plan((5,), (5,), (5,), edge_section=False)
    assert made.edge_cut is None
    assert made.cloud.input == (3 * 128,)


@pytest.mark.parametrize(
    ("edges", "groups"),
    [
        (0, [[0, 1, 2, 3, 4, 5, 6]]),
        (1, [[0, 1, 2, 3, 4, 5, 6]]),
        (2, [[0, 1, 2, 3], [4, 5, 6]]),
        (3, [[0, 1, 2], [3, 4], [5, 6]]),
        (7, [[0], [1], [2], [3], [4], [5], [6]]),
        ([[6, 0], [5, 4, 3, 2, 1]], [[0, 6], [1, 2, 3, 4, 5]]),
    ],
)
def test_edges_are_a_number_or_their_devices(edges: Any, groups: list[list[int]]) -> None:
    made = plan(*[(5,)] * 7, edges=edges)
    assert list(map(list, made.edges)) == groups
    assert len(made.edge_sections) == made.children == len(groups)


def test_raw_views_leave_the_cloud_alone_and_it_halves_them_as_a_device_would() -> None:
    cloud = SectionConfig()
    made = plan(*[(3, 32, 32)] * 4, device_section=False, edge_section=False, cloud=cloud)
    assert made.raw
    assert (made.devices, made.device_cut, made.edge_sections, made.edge_cut) == ((), None, (), None)
    assert (made.child, made.children, made.cloud.input) == ((3, 32, 32), 4, (12, 32, 32))
    assert made.cloud.halvings == plan((3, 32, 32)).devices[0].halvings == 2
    assert plan((3, 32, 32), edge=SectionConfig(), cloud=cloud).cloud.halvings == 0
    dense = plan((3, 8, 8), device_section=False, edge_section=False, cloud=SectionConfig(flat=True))
    assert dense.cloud.input == (3 * 8 * 8,)


def test_without_a_tail_the_last_block_makes_the_features() -> None:
    made = plan((1, 16, 10), device=SectionConfig(filters=(9, 6), tail=False, cut_bits=100))
    assert (made.devices[0].cut, made.devices[0].blocks, made.devices[0].halvings) == ((6, 4, 3), (9, 6), 2)
    every = plan((1, 16, 10), device=SectionConfig(filters=(9, 6), tail=False, halve="all", cut_bits=1))
    assert every.devices[0].cut == (6, 4, 3)
    assert plan((20,), device=SectionConfig(widths=(50, 30), tail=False)).device_cut == (30,)


def test_without_a_tail_views_must_be_of_one_shape() -> None:
    with pytest.raises(BadConfig, match=r"network.device.tail is false, but views are FP32 \(1, 8, 8\), FP32 \(5,\)"):
        plan((1, 8, 8), (5,), device=SectionConfig(tail=False))


RAW = {"device_section": False, "edge_section": False}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            {"shared_weights": True},
            r"shared_weights is true, but views are FP32 \(1, 8, 8\), UINT8 \(1, 8, 8\)",
        ),
        (RAW, r"network.device_section is false, but views are FP32 .*; expected views of one kind"),
    ],
)
def test_what_needs_views_of_one_kind_is_told(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadConfig, match=sentence):
        Plan.of(NetworkConfig(**config), [ViewSpec((1, 8, 8), uint8) for uint8 in (False, True)], 4)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            {"edges": ((0, 1), (1, 2))},
            r"network.edges is \[\[0, 1\], \[1, 2\]\]; expected each of the devices 0..2 once",
        ),
        ({"edges": ((0, 1),)}, "each of the devices 0..2 once"),
        ({"device": SectionConfig(cut_bits=4)}, "cut_bits is 4, less than cut_filters 8"),
        ({"device": SectionConfig(cut_bits=4, tail=False)}, "cut_bits is 4, less than the last filters, 32"),
        ({"edges": 4}, "network.edges is 4; expected at most one for each of 3 devices"),
        ({"devices": (0, 1)}, "network.devices names 2 devices; the data have 3"),
        ({"device_section": False}, "network.edge_section is true without device sections; expected false"),
        ({**RAW, "edges": 2}, "network.edges makes 2 edges without device sections; expected one"),
    ],
)
def test_what_does_not_fit_the_views_is_named(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadConfig, match=sentence):
        plan((1, 8, 8), (1, 8, 8), (1, 8, 8), **config)
