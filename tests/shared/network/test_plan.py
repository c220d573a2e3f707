"""The shapes that follow from a configuration."""

import math
from typing import Any

import pytest

from ddnn.errors import BadConfig
from ddnn.network import DDNN, NetworkConfig, Plan, SectionConfig
from ddnn.network.plan import SectionPlan
from ddnn.network.sections import Blocks
from ddnn.topology import View
from ddnn.types import Tier


class Shapes:
    """The shapes of a network that was built."""

    def __init__(self, network: DDNN) -> None:
        self.devices = [section.plan for section in network.devices if isinstance(section, Blocks)]
        self.edges = [section.plan for section in network.edges if isinstance(section, Blocks)]
        assert isinstance(network.cloud, Blocks)
        self.cloud: SectionPlan = network.cloud.plan
        cuts = [network.topology.features(tier) for tier in (Tier.DEVICE, Tier.EDGE)]
        self.device_cut, self.edge_cut = [None if cut is None else cut.shape for cut in cuts]


def plan(*shapes: tuple[int, ...], **config: Any) -> Plan:
    return Plan.of(NetworkConfig(**config), [View(shape=shape, dtype="FP32") for shape in shapes], 4)


def built(*shapes: tuple[int, ...], **config: Any) -> Shapes:
    return Shapes(DDNN(plan(*shapes, **config)))


@pytest.mark.parametrize(
    ("shape", "family", "axes"),
    [((1, 16, 10), "image", 3), ((9, 63), "series", 2), ((20,), "dense", 1)],
)
def test_the_block_family_follows_the_shape_of_the_view(shape: tuple[int, ...], family: str, axes: int) -> None:
    made = built(shape, shape, edge=SectionConfig(), cloud=SectionConfig())
    assert [section.family for section in made.devices] == [family] * 2
    assert len(made.device_cut or ()) == axes
    assert made.cloud.family == made.edges[0].family == family


@pytest.mark.parametrize("shape", [(1, 16, 10), (3, 32, 32), (3, 64, 64), (9, 63), (2, 500), (300,), (1, 1, 1), (5, 1)])
def test_features_fit_the_bits_allowed(shape: tuple[int, ...]) -> None:
    made = built(shape, shape)
    assert made.device_cut is not None
    assert made.edge_cut is not None
    assert math.prod(made.device_cut) <= NetworkConfig().device.cut_bits
    assert math.prod(made.edge_cut) <= NetworkConfig().edge.cut_bits


def test_devices_of_unequal_shapes_all_end_in_one_dense_cut() -> None:
    made = built((1, 16, 10), (9, 63), (20,))
    assert made.device_cut == (128,)
    assert [section.family for section in made.devices] == ["image", "series", "dense"]
    assert made.edges[0].family == made.cloud.family == "dense"


def test_a_flat_section_is_dense() -> None:
    made = built((1, 8, 8), (1, 8, 8), device=SectionConfig(flat=True, cut_width=20), edge=SectionConfig(flat=True))
    assert [section.family for section in (*made.devices, *made.edges)] == ["dense"] * 3
    assert (made.devices[0].input, made.device_cut, made.edges[0].input) == ((64,), (20,), (40,))


def test_concatenation_stacks_channels_and_the_others_do_not() -> None:
    edge = SectionConfig()
    assert built((1, 8, 8), (1, 8, 8), edge_fusion="concat", edge=edge).edges[0].input[0] == 16
    assert built((1, 8, 8), (1, 8, 8), edge_fusion="max", edge=edge).edges[0].input[0] == 8


def test_without_edges_the_cloud_fuses_the_devices() -> None:
    made = built((5,), (5,), (5,), edge_section=False)
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
    assert list(map(list, plan(*[(5,)] * 7, edges=edges).edges)) == groups


def test_raw_views_leave_the_cloud_alone_and_it_halves_them_as_a_device_would() -> None:
    cloud = SectionConfig()
    made = built(*[(3, 32, 32)] * 4, device_section=False, edge_section=False, cloud=cloud)
    assert (made.devices, made.device_cut, made.edges, made.edge_cut) == ([], None, [], None)
    assert made.cloud.input == (12, 32, 32)
    assert made.cloud.halvings == built((3, 32, 32)).devices[0].halvings == 2
    assert built((3, 32, 32), edge=SectionConfig(), cloud=cloud).cloud.halvings == 0
    dense = built((3, 8, 8), device_section=False, edge_section=False, cloud=SectionConfig(flat=True))
    assert dense.cloud.input == (3 * 8 * 8,)


def test_without_a_tail_the_last_block_makes_the_features() -> None:
    made = built((1, 16, 10), device=SectionConfig(filters=(9, 6), tail=False, cut_bits=100))
    assert (made.device_cut, made.devices[0].blocks, made.devices[0].halvings) == ((6, 4, 3), (9, 6), 2)
    every = built((1, 16, 10), device=SectionConfig(filters=(9, 6), tail=False, halve="all", cut_bits=1))
    assert every.device_cut == (6, 4, 3)
    assert built((20,), device=SectionConfig(widths=(50, 30), tail=False)).device_cut == (30,)


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
        Plan.of(NetworkConfig(**config), [View(shape=(1, 8, 8), dtype=dtype) for dtype in ("FP32", "UINT8")], 4)


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
        built((1, 8, 8), (1, 8, 8), (1, 8, 8), **config)
