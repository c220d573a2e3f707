"""A section in C says what ONNX Runtime says of it, in plain C99, without a warning or an allocation."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from c_device import NEEDS_GCC, Device
from ddnn.bundle import Bundle, shipped_bundle
from ddnn.cli.app import app
from ddnn.codec import codec_of
from ddnn.embedded import translated, write_device
from ddnn.errors import BadInput
from ddnn.export import sample_bundle
from ddnn.golden import TIES, TOLERANCE
from ddnn.network import NetworkConfig, SectionConfig
from ddnn.slices import slice_bundle
from ddnn.types import Array, Tier
from networks import make_bundle

pytestmark = NEEDS_GCC

PLAIN = {"memcpy", "memset", "memcmp", "strlen", "logf", "sqrtf", "floorf", "rintf", "fabsf"}
"""All that a device may need of the C library."""
PAPER = NetworkConfig(blocks="binary", bias=True, device=SectionConfig(filters=(4,), halve="all", tail=False))
SPECTRUM = NetworkConfig(spectrum=True, device=SectionConfig(flat=True, widths=(8,), cut_width=24, cut_codec="bits4"))
BINARY = NetworkConfig(blocks="binary", device=SectionConfig(filters=(4, 6), parts=3))
RESIDUAL = NetworkConfig(blocks="residual", device=SectionConfig(filters=(4, 6), parts=3, cut_codec="float16"))
EIGHT = NetworkConfig(weight_type="int8", device=SectionConfig(filters=(8, 16), cut_filters=4, cut_codec="bits2"))


def ties(device: Device) -> Array:
    """(N, elements): which features of golden events may be others."""
    features = device.bundle.topology.features(Tier.DEVICE)
    assert features
    return TIES.unpack(device.bundle.golden["device_ties"][:, device.index], features.shape).astype(np.bool_)


def agrees(device: Device, bits: int = 1) -> None:
    """Of all golden events scores are within a tenth of the tolerance, and features of `bits` the same but for ties."""
    views = device.bundle.golden[f"view_{device.index}"]
    (scores, rows), (wanted, packed) = device.run(views), device.by_onnx_runtime(views)
    assert np.abs(scores - wanted).max() < TOLERANCE / 10
    near = np.repeat(ties(device), bits, axis=1)
    differ = np.unpackbits(np.bitwise_xor(rows, packed).astype(np.uint8), axis=1, bitorder="little") == 1
    assert not (differ[:, : near.shape[1]] & ~near).any()


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Device:
    """Device 3 of the shipped digits."""
    return Device.of(Bundle.open(shipped_bundle()), 3, tmp_path_factory.mktemp("digits") / "c")


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Device:
    """One of two devices of the paper's: 3 × 32 × 32 pixels, 4 binary filters, a binary exit."""
    folder = tmp_path_factory.mktemp("paper")
    bundle = sample_bundle(folder / "bundle", [(3, 32, 32)] * 2, network=PAPER, events=36)
    return Device.of(bundle, 0, folder / "c")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Two channels of 9 × 9 bytes, weights of eight bits."""
    folder = tmp_path_factory.mktemp("bundles") / "small"
    return sample_bundle(folder, [(2, 9, 9)] * 2, network=EIGHT, uint8=True, events=36)


def test_a_shipped_device_gives_the_features_of_every_golden_event_bit_for_bit(digits: Device) -> None:
    agrees(digits)


@pytest.mark.long
@pytest.mark.parametrize("index", range(6))
def test_so_do_all_shipped_devices(index: int, tmp_path: Path) -> None:
    agrees(Device.of(Bundle.open(shipped_bundle()), index, tmp_path / "c"))


def test_a_device_of_the_papers_has_less_than_2_kb_of_weights(paper: Device) -> None:
    section = translated(paper.bundle, 0)
    assert section.one_bit == 4 * 3 * 9 + 3 * 1024
    assert section.weights < 2048
    assert section.memory < 4 * 3 * 32 * 32 + 2048  # the normalised view, and little else
    agrees(paper)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        pytest.param(SPECTRUM, (3, 25), id="spectrum, four bits"),
        pytest.param(BINARY, (2, 12), id="binary series", marks=pytest.mark.long),
        pytest.param(RESIDUAL, (2, 12), id="residual series, half precision", marks=pytest.mark.long),
        pytest.param(NetworkConfig(normalise="element"), (5,), id="vectors", marks=pytest.mark.long),
        pytest.param(NetworkConfig(), (2, 14, 15), id="images", marks=pytest.mark.long),
    ],
)
def test_other_networks_too(network: NetworkConfig, shape: tuple[int, ...], tmp_path: Path) -> None:
    bundle = sample_bundle(tmp_path / "bundle", [shape] * 2, network=network, events=36)
    device, view = Device.of(bundle, 1, tmp_path / "c"), bundle.golden["view_1"].copy()
    view.flat[::7] = np.nan
    (scores, rows), (wanted, packed) = device.run(view), device.by_onnx_runtime(view)
    assert np.abs(scores - wanted).max() < TOLERANCE / 10
    assert (rows != packed).mean() < 0.01  # half precision ends between two numbers that rounding tells apart


def test_weights_of_eight_bits_stay_so(small: Bundle, tmp_path: Path) -> None:
    device = Device.of(small, 0, tmp_path / "c")
    agrees(device, bits=2)
    assert "static const int8_t" in (device.folder / "ddnn_section.c").read_text()


def test_it_is_plain_c_and_allocates_nothing(digits: Device, paper: Device) -> None:
    for device in (digits, paper):
        for made in ("ddnn_section.o", "ddnn_stream.o"):
            run = subprocess.run(["nm", "-u", device.folder / made], capture_output=True, text=True, check=True)
            assert {*run.stdout.split()} - {"U"} <= PLAIN


def test_it_holds_itself_against_golden_events(digits: Device) -> None:
    make = ["make", "-C", str(digits.folder), "check", "CFLAGS=-std=c99 -O0"]
    done = subprocess.run(make, capture_output=True, text=True, check=True)
    assert "8 events: scores within" in done.stdout
    assert "0 numbers off" in done.stdout


def with_section(bundle: Bundle, folder: Path, nodes: list[Any], constants: dict[str, Array]) -> Bundle:
    """A copy of the bundle with another section at device 0: `nodes` make `scores` and `features` of `view`."""
    shutil.copytree(bundle.path, folder)
    view, classes = bundle.topology.devices[0].view, len(bundle.manifest.classes)
    features = bundle.topology.own_features(Tier.DEVICE, 0)
    assert features
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("view", TensorProto.UINT8, ["B", *view.shape])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", classes]),
            helper.make_tensor_value_info("features", TensorProto.UINT8, ["B", features.values]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, folder / bundle.topology.sections[0].file)
    sealed = Bundle.seal(folder, bundle.manifest)
    bundle.policy.model_copy(update={"bundle": sealed.fingerprint}).write(folder)
    return Bundle.open(folder)


def every_operator(shape: tuple[int, ...], classes: int, values: int) -> tuple[list[Any], dict[str, Array]]:
    """A graph with the operators that no exported network above has, one behind the other."""
    node, random = helper.make_node, np.random.default_rng(5)
    channels, height, _ = shape
    constants: dict[str, Array] = {
        "kernel": random.normal(size=(2 * channels, 1, 3, 3)).astype(np.float32) / 100,
        "bias": random.normal(size=2 * channels).astype(np.float32),
        "shift": random.normal(size=(1, 1, 2 * channels)).astype(np.float32),
        "left": random.normal(size=(4, height)).astype(np.float32),
        "low": np.array(-2.0, np.float32),
        "high": np.array(2.5, np.float32),
        "most": np.array(20.0, np.float32),
        "starts": np.array([1, -4], np.int64),
        "ends": np.array([99, 99], np.int64),
        "axes": np.array([2, 3], np.int64),
        "last": np.array([3], np.int64),
        "parts": np.array([1, 2 * channels - 1], np.int64),
        "none": np.zeros((), np.float32),
        "half": np.array(0.5, np.float32),
        "scorer": random.normal(size=(2 * channels * 12, classes)).astype(np.float32) / 60,
        "judge": random.normal(size=(2 * channels * 12, values)).astype(np.float32),
        "beside": random.normal(size=(classes,)).astype(np.float32),
    }
    chain = [
        node("Cast", ["view"], ["floats"], to=1),
        node("Conv", ["floats", "kernel", "bias"], ["c0"], group=channels, dilations=[2, 2], pads=[2, 2, 2, 2]),
        node("Transpose", ["c0"], ["c1"], perm=[0, 2, 3, 1]),
        node("Add", ["c1", "shift"], ["c2"]),
        node("Transpose", ["c2"], ["c3"], perm=[0, 3, 1, 2]),
        node("MatMul", ["left", "c3"], ["rows"]),
        node("AveragePool", ["c3"], ["mean"], kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]),
        node("AveragePool", ["c3"], ["full"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
        node("Sub", ["mean", "full"], ["d0"]),
        node("Slice", ["d0", "starts", "ends", "axes"], ["d1"]),
        node("ReduceMax", ["d1", "last"], ["d2"], keepdims=1),
        node("Sub", ["d1", "d2"], ["d3"]),
        node("Max", ["d3", "low", "none"], ["d4"]),
        node("Split", ["c3", "parts"], ["one", "rest"], axis=1),
        node("Sigmoid", ["one"], ["one_s"]),
        node("Tanh", ["one_s"], ["one_t"]),
        node("Clip", ["rest", "low", "high"], ["rest_c"]),
        node("Concat", ["one_t", "rest_c"], ["both"], axis=1),
        node("GlobalAveragePool", ["both"], ["global"]),
        node("LeakyRelu", ["rows"], ["r0"], alpha=0.25),
        node("Mul", ["r0", "global"], ["r1"]),
        node("MaxPool", ["r1"], ["r2"], kernel_shape=[1, 3], strides=[1, 3]),
        node("ReduceSum", ["d4", "axes"], ["d5"], keepdims=1),
        node("Less", ["d5", "low"], ["d6"]),
        node("Not", ["d6"], ["d7"]),
        node("Where", ["d7", "half", "high"], ["d8"]),
        node("Div", ["r2", "d8"], ["r3"]),
        node("Flatten", ["r3"], ["joined"]),
        node("Gemm", ["joined", "scorer", "beside"], ["s0"], alpha=0.5, beta=2.0),
        node("Exp", ["s0"], ["s1"]),
        node("Reciprocal", ["s1"], ["s2"]),
        node("Min", ["s2", "most"], ["s3"]),
        node("Neg", ["s3"], ["scores"]),
        node("MatMul", ["joined", "judge"], ["j0"]),
        node("Abs", ["j0"], ["j1"]),
        node("Sqrt", ["j1"], ["j2"]),
        node("Greater", ["j2", "high"], ["j3"]),
        node("Equal", ["j2", "none"], ["j4"]),
        node("Or", ["j3", "j4"], ["j5"]),
        node("Cast", ["j5"], ["features"], to=2),
    ]
    return chain, constants


def test_operators_of_a_section_of_ones_own(small: Bundle, tmp_path: Path) -> None:
    features = small.topology.own_features(Tier.DEVICE, 0)
    assert features
    bundle = with_section(small, tmp_path / "bundle", *every_operator((2, 9, 9), 3, features.values))
    device = Device.of(bundle, 0, tmp_path / "c")
    views = np.random.default_rng(1).integers(0, 256, (40, 2, 9, 9)).astype(np.uint8)
    (scores, rows), (wanted, packed) = device.run(views), device.by_onnx_runtime(views)
    assert np.allclose(scores, wanted, rtol=1e-4, atol=1e-5)
    assert len(np.unique(scores)) > 40
    assert (rows != packed).mean() < 0.01
    assert 0 < np.unpackbits(rows).mean() < 1


@pytest.mark.parametrize(
    ("op", "inputs", "outputs", "keys"),
    [
        ("Softmax", ["floats"], ["found"], {}),  # one that is not known
        ("Gather", ["floats", "places"], ["found"], {"axis": 1}),
        ("MaxPool", ["floats"], ["other", "found"], {"kernel_shape": [2, 2]}),  # known, but for this output
        ("MaxPool", ["floats"], ["found"], {"kernel_shape": [2, 2], "ceil_mode": 1}),  # and in this form
        ("Conv", ["floats", "floats"], ["found"], {}),  # weights that the view makes
        ("Add", ["halves", "halves"], ["found"], {}),  # arithmetic in half precision
        ("Cast", ["floats"], ["found"], {"to": 7}),
    ],
)
def test_an_operator_that_is_not_written_in_c_is_named_with_its_node(
    op: str, inputs: list[str], outputs: list[str], keys: dict[str, Any], small: Bundle, tmp_path: Path
) -> None:
    features = small.topology.own_features(Tier.DEVICE, 0)
    assert features
    nodes = [
        helper.make_node("Cast", ["view"], ["floats"], to=1),
        helper.make_node("Cast", ["floats"], ["halves"], to=10),
        helper.make_node(op, inputs, outputs, name="/head/it", **keys),
        helper.make_node("Cast", ["found"], ["numbers"], to=1),
        helper.make_node("ReduceMean", ["numbers"], ["one"], keepdims=1),
        helper.make_node("Reshape", ["one", "flat"], ["first"]),
        helper.make_node("Mul", ["first", "wide"], ["scores"]),
        helper.make_node("Greater", ["first", "many"], ["bits"]),
        helper.make_node("Cast", ["bits"], ["features"], to=2),
    ]
    constants: dict[str, Array] = {
        "places": np.arange(2),
        "flat": np.array([1, 1]),
        "wide": np.ones((1, 3), np.float32),
    }
    constants["many"] = np.zeros((1, features.values), np.float32)
    bundle = with_section(small, tmp_path / "bundle", nodes, constants)
    with pytest.raises(BadInput, match=rf"operator {op} of node '/head/it' is not one that is written in C"):
        write_device(bundle, 0, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_section_that_is_no_onnx_is_named(small: Bundle, tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"no ONNX at all", b"\x3a\x05abcde")):
        folder = tmp_path / f"{number}"
        shutil.copytree(small.path, folder)
        (folder / "device-0.onnx").write_bytes(content)
        sealed = Bundle.seal(folder, small.manifest)
        small.policy.model_copy(update={"bundle": sealed.fingerprint}).write(folder)
        with pytest.raises(BadInput, match=r"device-0\.onnx: "):
            translated(Bundle.open(folder), 0)


@pytest.mark.parametrize("codec", ["float16", "sqrt8", pytest.param("float32", marks=pytest.mark.long)])
def test_scores_go_up_as_from_a_device_in_python(small: Bundle, codec: str, tmp_path: Path) -> None:
    shutil.copytree(small.path, tmp_path / "bundle")
    manifest = small.manifest.model_copy(update={"topology": small.topology.with_scores(codec)})
    sealed = Bundle.seal(tmp_path / "bundle", manifest)
    small.policy.model_copy(update={"bundle": sealed.fingerprint}).write(tmp_path / "bundle")
    device, random = Device.of(Bundle.open(tmp_path / "bundle"), 0, tmp_path / "c"), np.random.default_rng(7)
    scale = np.float32(2.0) ** random.integers(-30, 18, (4000, 1))
    scores = (random.normal(size=(4000, 3)) * scale).astype(np.float32)
    scores[:3] = np.array([[0, 0, 0], [1e9, -1e9, 0], [65504, 65519, 65520]])
    packed = np.ascontiguousarray(codec_of(codec).pack(scores)).view(np.uint8).reshape(4000, -1)
    assert (device.packed_scores(scores, packed.shape[1]) == packed).all()


def test_a_slice_is_as_good_as_the_bundle_and_only_its_own(digits: Device, tmp_path: Path) -> None:
    slice_bundle(digits.bundle, Tier.DEVICE, 3, tmp_path / "slice")
    opened = Bundle.open(tmp_path / "slice")
    assert translated(opened, 3).source == (digits.folder / "ddnn_section.c").read_text()
    with pytest.raises(BadInput, match=r"is the slice of device-3; expected a whole bundle, or the slice of device-2"):
        write_device(opened, 2, tmp_path / "c")


@pytest.mark.long
def test_a_network_without_sections_at_devices_has_nothing_to_write(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", devices=2, device_section=False, edge_section=False)
    with pytest.raises(BadInput, match=r"the devices of .* have no sections"):
        write_device(bundle, 0, tmp_path / "c")


def test_the_command_says_what_it_wrote_and_what_that_costs(tmp_path: Path) -> None:
    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["export", "mnist5k", *words])

    done = run("--c", "--device", "3", "--out", str(tmp_path / "c"), "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["device"], document["weights"], document["memory"]) == (3, 39_040, 5_120)
    assert document["macs"] == sum(layer["macs"] for layer in document["layers"])
    assert document["operators"]["Conv"] == 3
    assert {"ddnn_section.c", "ddnn_section.h", "ddnn_stream.c", "ddnn_stream.h"} < {*document["files"]}
    assert "39,040 bytes" in (tmp_path / "c" / "ddnn_section.h").read_text()
    for words, sentence in (
        (("--c", "--out", str(tmp_path / "c")), "expected a new folder"),
        (("--c", "--device", "6", "--out", str(tmp_path / "d")), "expected 0 to 5"),
        ((), "expected --c"),
    ):
        with pytest.raises(BadInput, match=sentence):
            raise run(*words).exception
