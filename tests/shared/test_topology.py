"""The topology: sections, their inputs, and what each tier sends."""

import pytest
from pydantic import ValidationError

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.topology import Features, Topology, View
from ddnn.types import Exit, Tier
from format_1 import topology_of_format_1

VIEW = View(shape=(3, 8, 8), dtype="UINT8")
CUT, UP = Features(shape=(2, 4, 4)), Features(shape=(9,), codec="bits4")


def sent(topology: Topology, tier: Tier) -> list[str]:
    return [f"{when} {given.what}" for when in ("always", "asked") for given in topology.sent(tier, when)]


def test_devices_send_scores_then_features_when_asked_and_an_edge_its_own() -> None:
    topology = Topology.tiered([VIEW] * 3, [(0, 2), (1,)], CUT, UP)
    assert topology.exits == tuple(Exit)
    assert sent(topology, Tier.DEVICE) == ["always scores", "asked features"]
    assert sent(topology, Tier.EDGE) == ["always features"]
    scores, features = topology.sent(Tier.DEVICE, "always")[0], topology.sent(Tier.DEVICE, "asked")[0]
    (up,) = topology.sent(Tier.EDGE, "always")
    assert [topology.bytes(given, 0, 10) for given in (scores, features, up)] == [40, 4, 5]
    assert [section.file for section in topology.sections_of(Tier.EDGE, 1)] == ["local-1.onnx", "edge-1.onnx"]
    edge, cloud = topology.section(Exit.EDGE, 0), topology.section(Exit.CLOUD)
    assert edge is not None
    assert cloud is not None
    assert (topology.children(edge, edge.inputs[0]), topology.children(cloud, cloud.inputs[0])) == ((0, 2), (0, 1))
    assert [topology.edge_of(device) for device in range(3)] == [0, 1, 0]


def test_scores_alone_go_up_in_another_codec_and_are_what_an_exit_judges_by() -> None:
    one, two = (Topology.tiered([VIEW] * 3, edges, CUT, UP) for edges in ([(0, 1, 2)], [(0, 2), (1,)]))
    half = two.with_scores("float16")
    assert half.codecs == {*two.codecs - {"float32"}, "float16"}
    assert Topology.model_validate(half.model_dump(mode="json")) == half
    assert half.with_scores("float32") == two
    assert half.bytes(half.sent(Tier.DEVICE)[0], 0, 10) == 20
    assert [half.score_codec(exit).name for exit in Exit] == ["float16", "float16", "float16", "float32"]
    alone = one.with_scores("float16")  # scores of the edge's exits stay there
    assert [alone.score_codec(exit).name for exit in Exit] == ["float16", "float32", "float32", "float32"]
    raw = Topology.tiered([VIEW] * 2, [(0, 1)], None)
    assert raw.with_scores("float16") == raw


def test_without_an_edge_section_the_edge_passes_features_on() -> None:
    topology = Topology.tiered([VIEW] * 2, [(0, 1)], CUT)
    assert topology.exits == (Exit.DEVICE, Exit.LOCAL, Exit.CLOUD)
    assert sent(topology, Tier.DEVICE) == ["always scores", "asked features"]
    assert sent(topology, Tier.EDGE) == ["always features"]
    cloud = topology.section(Exit.CLOUD)
    assert cloud is not None
    assert topology.children(cloud, cloud.inputs[0]) == (0, 1)


def test_raw_views_are_the_input_of_a_cloud_section() -> None:
    topology = Topology.tiered([VIEW] * 2, [(0, 1)], None)
    assert topology.exits == (Exit.CLOUD,)
    assert sent(topology, Tier.DEVICE) == sent(topology, Tier.EDGE) == ["always view"]
    (view,) = topology.sent(Tier.DEVICE, "always")
    assert (topology.bytes(view, 0, 10), topology.codec(view, 0).datatype) == (192, "UINT8")
    assert topology.sections_of(Tier.DEVICE) == topology.sections_of(Tier.EDGE) == ()


def test_a_topology_of_format_1_is_read_as_sections() -> None:
    document = topology_of_format_1(Bundle.open(shipped_bundle()).topology)
    topology = Topology.model_validate(document)
    views, edges = [spec.view for spec in topology.devices], [edge.devices for edge in topology.edges]
    cuts = [Features(shape=document[cut]["shape"]) for cut in ("device_cut", "edge_cut")]
    assert topology == Topology.tiered(views, edges, *cuts, fusion=document["fusion"])
    assert Topology.model_validate(topology.model_dump(mode="json")) == topology


@pytest.mark.parametrize("change", [{"edges": None}, {"devices": [1]}, {"device_cut": {"shape": "wide"}}])
def test_a_broken_topology_of_format_1_is_refused(change: dict[str, object]) -> None:
    document = topology_of_format_1(Bundle.open(shipped_bundle()).topology)
    with pytest.raises(ValidationError):
        Topology.model_validate(document | change)
