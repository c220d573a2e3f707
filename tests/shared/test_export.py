"""Export: ONNX Runtime says what torch says, and a bundle is whole or not there."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from torch import nn

from ddnn.bundle import WEIGHTS_FILE, Bundle
from ddnn.data import load
from ddnn.errors import BadBundle, BadInput
from ddnn.export import prove, sample_bundle, sample_data, seal, staged, write_bundle
from ddnn.export.proof import choose, masks, prove_rounding
from ddnn.network import DDNN, NetworkConfig, Plan, SectionConfig
from ddnn.network.sections import Blocks
from ddnn.policy import Policy, Thresholds
from ddnn.topology import View
from ddnn.training import Config, initial_network
from ddnn.training.run import weights_of
from ddnn.types import Exit, Tier

TINY: dict[str, Any] = {
    "device": SectionConfig(filters=(4,), widths=(8,), cut_filters=2, cut_width=16),
    "edge": SectionConfig(filters=(6,), widths=(8,), cut_filters=3, cut_width=20),
    "cloud": SectionConfig(filters=(6,), widths=(8,)),
}
NETWORKS: dict[str, tuple[list[tuple[int, ...]], dict[str, Any]]] = {
    "images": ([(1, 8, 6)] * 3, {}),
    "binary images": ([(1, 8, 6)] * 3, {"blocks": "binary"}),
    "series": ([(2, 11)] * 2, {"edge_fusion": "mean", "cloud_fusion": "mean", "local_fusion": "mean"}),
    "vectors, two edges": ([(5,)] * 4, {"edges": ((0, 3), (1, 2)), "edge_fusion": "max", "local_fusion": "max"}),
    "no edge section": ([(1, 8, 6)] * 3, {"edge_section": False, "cloud_fusion": "max"}),
    "unequal": ([(1, 8, 6), (2, 11), (5,)], {"blocks": "binary"}),
    "one device": ([(5,)], {"local_fusion": "max"}),
    "two bits": ([(1, 8, 6)] * 3, {"device": {"cut_codec": "bits2"}, "edge": {"cut_codec": "bits8"}}),
    "four bits": ([(5,)] * 2, {"edge_section": False, "device": {"cut_codec": "bits4", "cut_range": "tensor"}}),
    "floats": ([(2, 11)] * 2, {"device": {"cut_codec": "float16"}, "edge": {"cut_codec": "float32"}}),
}


@pytest.mark.parametrize(("shapes", "config"), NETWORKS.values(), ids=NETWORKS)
def test_every_section_says_what_torch_says_under_every_mask(
    tmp_path: Path, shapes: list[tuple[int, ...]], config: dict[str, Any]
) -> None:
    tables = {tier: TINY[tier].model_copy(update=config.get(tier, {})) for tier in TINY}
    bundle = sample_bundle(tmp_path / "b", shapes, network=NetworkConfig(**{**config, **tables}), events=90)
    bundle.verify()
    golden, topology = bundle.golden, bundle.topology
    count, devices, edges = 30, len(shapes), len(topology.edges)
    assert golden["device_scores"].shape == (count, devices, 3)
    assert golden["local_scores"].shape == (count, edges, 3)
    assert golden["cloud_scores"].shape == (count, 3)
    for tier, children in ((Tier.DEVICE, devices), (Tier.EDGE, edges)):
        if features := topology.features(tier):
            row = features.coded.sample(features.shape)
            assert golden[f"{tier}_features"].shape == (count, children, *row.shape[1:])
            assert golden[f"{tier}_features"].dtype == row.dtype
            assert golden[f"{tier}_ties"].shape == (count, children, -(-features.values // 8))
    assert (Exit.EDGE in topology.exits) == bool(topology.features(Tier.EDGE)) == ("edge_scores" in golden)
    for index, shape in enumerate(shapes):
        assert golden[f"view_{index}"].shape == (count, *shape)


def test_presence_masks_include_all_none_missing_each_missing_and_each_alone() -> None:
    named = dict(masks(np.ones((20, 3), bool), 0))
    assert list(named) == [
        "as seen",
        "all",
        *(f"{kind} {i}" for i in range(3) for kind in ("without", "only")),
        "at random",
    ]
    assert all(mask.any(axis=1).all() for mask in named.values())


def test_sections_are_small_single_files_with_a_dynamic_batch(tmp_path: Path) -> None:
    bundle = sample_bundle(tmp_path / "b", [(1, 8, 6)] * 2, network=NetworkConfig(**TINY), uint8=True)
    for tier, inputs, outputs in [
        (Tier.DEVICE, {"view": (2, [1, 8, 6])}, {"scores": (1, [3]), "features": (2, [96])}),
        (Tier.EDGE, {"features": (2, [2, 96]), "present": (9, [2])}, {"scores": (1, [3]), "features_out": (2, [144])}),
        (Tier.CLOUD, {"features": (2, [1, 144]), "present": (9, [1])}, {"scores": (1, [3])}),
    ]:
        file = bundle.sections(tier)["section"]
        model = onnx.load(file, load_external_data=False)
        onnx.checker.check_model(model, full_check=True)
        for values, expected in ((model.graph.input, inputs), (model.graph.output, outputs)):
            found = {value.name: value.type.tensor_type for value in values}
            assert {name: tensor.elem_type for name, tensor in found.items()} == {n: e[0] for n, e in expected.items()}
            for name, tensor in found.items():
                batch, *rest = tensor.shape.dim
                assert batch.dim_param
                assert [side.dim_value for side in rest] == expected[name][1]


def test_a_section_that_says_something_else_is_refused(tmp_path: Path) -> None:
    data = sample_data([(5,)] * 2)
    network = DDNN(Plan.of(NetworkConfig(**TINY), [View(shape=(5,), dtype="FP32")] * 2, 3)).eval()
    write_bundle(tmp_path, network, data)
    (tmp_path / "device-1.onnx").write_bytes((tmp_path / "device-0.onnx").read_bytes())
    with pytest.raises(BadBundle, match=r"device-1\.onnx \(devices: as seen\): scores of event \d+ are off by"):
        prove(network, tmp_path, data)


def norm(network: DDNN, device: int) -> nn.BatchNorm1d:
    """The batch norm before a device's sign."""
    section = network.devices[device]
    assert isinstance(section, Blocks)
    tail = section.fork.tail
    assert tail is not None
    last = tail.block[1]
    assert isinstance(last, nn.BatchNorm1d)
    return last


def test_a_features_bit_that_is_no_tie_is_refused(tmp_path: Path) -> None:
    data = sample_data([(5,)] * 2)
    network = DDNN(Plan.of(NetworkConfig(**TINY), [View(shape=(5,), dtype="FP32")] * 2, 3)).eval()
    write_bundle(tmp_path, network, data)
    norm(network, 1).bias.data += 0.5
    with pytest.raises(BadBundle, match=r"device-1\.onnx .* features of event \d+ differ .* not close to another"):
        prove(network, tmp_path, data)


def test_a_value_at_the_sign_is_listed_as_a_tie(tmp_path: Path) -> None:
    data = sample_data([(5,)] * 2)
    network = DDNN(Plan.of(NetworkConfig(**TINY), [View(shape=(5,), dtype="FP32")] * 2, 3)).eval()
    norm(network, 0).weight.data.zero_()
    bundle = write_bundle(tmp_path, network, data)
    assert (bundle.golden["device_ties"][:, 0] == 0xFF).all()
    assert not bundle.golden["device_ties"][:, 1].all()


def test_golden_events_are_of_every_class_in_order_and_from_the_test_split(tmp_path: Path) -> None:
    rows = choose(np.repeat([0, 1, 2], [100, 50, 4]), 30, 0)
    assert np.bincount(np.repeat([0, 1, 2], [100, 50, 4])[rows]).tolist() == [13, 13, 4]
    assert (np.diff(rows) > 0).all()
    data = load("synthetic")
    network = initial_network(Config(), data, 0)
    bundle = write_bundle(tmp_path, network, data, golden_events=12, seed=3, command="ddnn train", config={"a": 1})
    assert len(bundle.golden["y"]) == 12
    assert set(data.split[bundle.golden["index"]]) == {"test"}
    assert (data.y[bundle.golden["index"]] == bundle.golden["y"]).all()
    training = bundle.manifest.training
    assert (training.command, training.config, training.seed) == ("ddnn train", {"a": 1}, 3)
    assert training.data["fingerprint"] == data.fingerprint


def test_a_policy_goes_with_the_bundle_it_was_made_for(tmp_path: Path) -> None:
    bundle = sample_bundle(tmp_path / "b")
    policy = bundle.policy.model_copy(update={"thresholds": Thresholds(local=0.25)})
    again = seal(bundle.path, bundle.manifest.model_copy(update={"name": "other"}), policy)
    assert again.fingerprint != bundle.fingerprint
    assert Policy.read(bundle.path).thresholds.local == 0.25
    assert Bundle.open(bundle.path).policy.bundle == again.fingerprint


def test_a_bundle_is_whole_or_not_there(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with pytest.raises(KeyboardInterrupt), staged(out) as folder:
        interrupted(folder)
    assert list(out.parent.iterdir()) == []
    with staged(out) as folder:
        sample_bundle(folder)
    Bundle.open(out).verify()
    with pytest.raises(BadInput, match="exists; give another --out"), staged(out):
        pass
    with staged(out, force=True) as folder:
        sample_bundle(folder, seed=1)
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("when", ["the new one is renamed", "the old one is deleted"])
def test_force_interrupted_leaves_one_bundle_or_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    out = tmp_path / "out"
    before = sample_bundle(out).fingerprint
    rename = Path.replace

    def stop_renaming(path: Path, target: Path) -> Path:
        if target == out and (path / "manifest.json").is_file() and not path.name.endswith(".old"):
            raise KeyboardInterrupt
        return rename(path, target)

    def stop_deleting(path: Path, ignore_errors: bool = False) -> None:
        if path.is_dir():
            (path / "manifest.json").unlink()
            raise KeyboardInterrupt

    def replace() -> None:
        with staged(out, force=True) as folder:
            sample_bundle(folder, seed=1)
            if when == "the new one is renamed":
                monkeypatch.setattr(Path, "replace", stop_renaming)
            else:
                monkeypatch.setattr(shutil, "rmtree", stop_deleting)

    with pytest.raises(KeyboardInterrupt):
        replace()
    bundle = Bundle.open(out)
    bundle.verify()
    assert (bundle.fingerprint == before) == (when == "the new one is renamed")


def interrupted(folder: Path) -> None:
    (folder / "half.onnx").write_text("half")
    raise KeyboardInterrupt


def test_force_replaces_bundles_only(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(BadInput, match="is no bundle"), staged(tmp_path, force=True):
        pass
    assert (tmp_path / "precious.txt").is_file()


def test_weights_of_eight_bits_are_small_in_every_file_and_those_that_are_served(tmp_path: Path) -> None:
    cuts = SectionConfig(filters=(32, 64), cut_codec="float32")
    wide: dict[str, Any] = {"device": cuts, "edge": cuts.model_copy(update={"flat": True})}
    shapes, kinds = [(3, 12, 12)] * 2, ("float32", "int8")
    whole, short = (
        sample_bundle(
            tmp_path / kind, shapes, network=NetworkConfig(**{**wide, "weight_type": kind}), events=180, uint8=True
        )
        for kind in kinds
    )
    short.verify()
    for file in (WEIGHTS_FILE, "cloud.onnx"):
        assert short.manifest.files[file].bytes < whole.manifest.files[file].bytes / 3
    assert short.manifest.training.test["proof"]["rounded"].keys() == {"device", "local", "edge", "cloud"}
    before, after = weights_of(whole), weights_of(short)
    assert before.keys() == after.keys()
    for name, weight in before.items():
        step = weight.abs().max() / 127 if weight.dim() > 1 and weight.numel() >= 1024 else 0
        assert (after[name] - weight).abs().max() <= step / 2 * 1.01
    nodes = onnx.load(short.path / "cloud.onnx").graph.node
    assert "DequantizeLinear" in {node.op_type for node in nodes}


def test_rounding_that_makes_right_labels_wrong_is_refused() -> None:
    data = sample_data([(5,)] * 2)
    one, other = (initial_network(Config(), data, seed) for seed in (0, 1))
    assert set(prove_rounding(one.eval(), one, data).values()) == {0}
    with pytest.raises(BadBundle, match=r"network\.weight_type 'int8' makes \d+ of \d+ labels of the \w+ exit wrong"):
        prove_rounding(one, other.eval(), data)
