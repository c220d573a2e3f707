"""Every topology, every pair of aggregators and every kind of block trains, and its export is proved.

`write_bundle` raises when ONNX Runtime says anything else than torch, under any presence mask.
"""

from pathlib import Path
from typing import Any

import pytest

from ddnn.bundle import Bundle
from ddnn.data import Dataset, load
from ddnn.export import sample_data, write_bundle
from ddnn.golden import check_sections
from ddnn.network import DDNN
from ddnn.runtime import Section
from ddnn.training import Config, initial_network, train
from ddnn.types import Exit, Tier
from networks import TOPOLOGIES

TINY: dict[str, Any] = {
    "network": {
        "device": {"filters": [3], "widths": [6], "cut_filters": 2, "cut_width": 9, "cut_bits": 48},
        "edge": {"flat": False, "filters": [3], "widths": [6], "cut_filters": 2, "cut_width": 10, "cut_bits": 40},
        "cloud": {"flat": False, "filters": [4], "widths": [6]},
    },
    "training": {"epochs": 1, "batch": 32, "learning_rate": 0.01},
}
EXITS = {"a": "cloud", "b": "device local cloud", "c": "device local cloud"}
PAIRS = [(low, high) for low in ("max", "mean", "concat") for high in ("max", "mean", "concat")]


def exported(tmp_path: Path, data: Dataset, **network: Any) -> tuple[DDNN, Bundle]:
    """Train for a few steps, export, prove, and let every tier test itself on the golden events."""
    config = Config.of({**TINY, "network": TINY["network"] | network})
    before = initial_network(config, data, 0).state_dict()
    trained = train(config, data, seed=0)
    after = trained.state_dict()
    still = [name for name in after if name.endswith("weight") and after[name].equal(before[name])]
    assert still == []
    bundle = write_bundle(tmp_path / "b", trained, data, golden_events=20)
    bundle.verify()
    topology = bundle.topology
    for tier, count in ((Tier.DEVICE, len(topology.devices)), (Tier.EDGE, len(topology.edges)), (Tier.CLOUD, 1)):
        for index in range(count):
            sections = {role: Section(file) for role, file in bundle.sections(tier, index).items()}
            assert check_sections(bundle, tier, index, sections) == (20 if sections else 0)
    return trained, bundle


@pytest.fixture(scope="module")
def vectors() -> Dataset:
    """Three devices, one of them away from every other event."""
    data = sample_data([(5,)] * 3, events=120)
    data.present[::2, 1] = False
    return data


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_each_of_the_papers_configurations(tmp_path: Path, name: str) -> None:
    keys = TOPOLOGIES[name]
    data = load("synthetic").of_devices(keys.get("devices", ()))
    _, bundle = exported(tmp_path, data, **keys)
    topology = bundle.topology
    assert [exit.value for exit in topology.exits] == EXITS.get(name, "device local edge cloud").split()
    assert len(topology.devices) == (1 if name in "bd" else 6)
    assert [len(edge.devices) for edge in topology.edges] == ([3, 3] if name == "f" else [len(topology.devices)])
    assert (topology.section(Exit.EDGE) is None) == (name in "abc")


@pytest.mark.parametrize(("low", "high"), PAIRS)
def test_each_local_cloud_pair(tmp_path: Path, vectors: Dataset, low: str, high: str) -> None:
    _, bundle = exported(tmp_path, vectors, edge_section=False, local_fusion=low, cloud_fusion=high)
    assert bundle.topology.fusion == {"local": low, "cloud": high}


@pytest.mark.parametrize("place", ["local", "edge", "cloud"])
def test_attention_at_each_place(tmp_path: Path, place: str) -> None:
    data = sample_data([(5,)] * 4, events=120)
    data.present[::3, 0] = False
    network, _ = exported(tmp_path, data, edges=2, **{f"{place}_fusion": "attention"})
    assert any(name.endswith("fusion.weight") for name, _ in network.named_parameters())


@pytest.mark.parametrize("fusion", ["max", "mean", "concat", "attention"])
def test_raw_views_of_every_kind_by_every_fusion(tmp_path: Path, fusion: str) -> None:
    shape = {"max": (1, 8, 6), "mean": (2, 11), "concat": (5,), "attention": (3, 8, 6)}[fusion]
    data = sample_data([shape] * 3, events=90, uint8=fusion == "max")
    keys = {"cloud_fusion": fusion, **TOPOLOGIES["a"], "cloud": {"flat": fusion == "attention"}}
    _, bundle = exported(tmp_path, data, **keys)
    section = Section(bundle.sections(Tier.CLOUD)["section"])
    assert section.inputs == ("view", "present")
    assert bundle.topology.exits == (Exit.CLOUD,)
    wanted = {"index", "y", "y_dev", "present", "cloud_scores", "view_0", "view_1", "view_2"}
    assert bundle.golden.keys() == wanted


@pytest.mark.parametrize("blocks", ["float", "binary", "residual"])
@pytest.mark.parametrize("shape", [(1, 8, 6), (2, 11), (5,)], ids=["images", "series", "vectors"])
def test_blocks_of_every_kind_without_a_tail_and_with_shared_weights(
    tmp_path: Path, blocks: str, shape: tuple[int, ...]
) -> None:
    data = sample_data([shape] * 2, events=90)
    no_tail = {"filters": [4], "widths": [6], "tail": False, "halve": "all"}
    _, bundle = exported(tmp_path, data, blocks=blocks, bias=True, shared_weights=True, device=no_tail)
    assert {spec.file for spec in bundle.topology.sections if spec.exit is Exit.DEVICE} == {"device.onnx"}
    assert [file.name for file in bundle.path.glob("device*.onnx")] == ["device.onnx"]
    features = bundle.topology.features(Tier.DEVICE)
    assert features is not None
    assert features.shape == (4 if len(shape) > 1 else 6, *halved(shape))


def halved(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-(-side // 2) for side in shape[1:])


def test_normalisation_is_pooled_over_devices_that_share_their_weights() -> None:
    data = sample_data([(2, 10)] * 2, events=90)
    data.views[1][:] = data.views[1] * 7 + 3
    config = Config.of({**TINY, "network": TINY["network"] | {"shared_weights": True}})
    normalise, again = initial_network(config, data, 0).inputs
    assert normalise is again
    train_part = data.subset("train")
    both = [float(view.mean()) for view in train_part.views]
    assert float(normalise.mean.mean()) == pytest.approx(sum(both) / 2, rel=1e-4)


@pytest.mark.parametrize("name", ["a", "e"])
def test_series_with_their_spectra(tmp_path: Path, name: str) -> None:
    flat = {tier: {"flat": True} for tier in ("device", "cloud")}
    exported(tmp_path, sample_data([(2, 11)] * 3, events=90), **TOPOLOGIES[name], **flat, spectrum=True)
