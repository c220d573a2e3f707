"""Bundles made to harm, sealed like any other: refused with a sentence before a file is opened or memory is taken."""

import copy
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import ddnn_cloud.app
import ddnn_device.app
import ddnn_edge.app
from ddnn.bundle import GOLDEN_FILE, MANIFEST_FILE, Bundle
from ddnn.errors import BadBundle
from ddnn.policy import Policy
from ddnn.runtime import Section
from ddnn.seal import read_sealed, write_sealed
from ddnn.settings import Settings
from warm_start import run

Document = dict[str, Any]
MOST = 32 << 20


def start(path: Path, tier: str = "device", index: int = 0) -> None:
    """Put a tier together, as `ddnn serve` does."""
    module = {"device": ddnn_device.app, "edge": ddnn_edge.app, "cloud": ddnn_cloud.app}[tier]
    upstream = ("http://127.0.0.1:1",) if tier != "cloud" else ()
    module.create_app(Settings(bundle=path, index=index, upstream=upstream))


def reseal(path: Path, change: Callable[[Document], object]) -> None:
    """Change the manifest, and seal it and its policy again, so that only what it says is wrong."""
    document = read_sealed(path / MANIFEST_FILE, "fingerprint")
    changed = copy.deepcopy(document)
    change(changed)
    Policy(bundle=write_sealed(path / MANIFEST_FILE, changed, "fingerprint")).write(path)


def pin(path: Path, *names: str) -> None:
    """Take files of the folder as they are now into its manifest."""
    manifest = Bundle.seal(path, Bundle.open(path).manifest)
    Policy(bundle=manifest.fingerprint).write(path)
    assert set(names) <= set(manifest.files)


NAMES = [
    "../outside.onnx",
    "/etc/passwd",
    "sub/cloud.onnx",
    "..",
    ".",
    ".hidden.onnx",
    "",
    "a\\b.onnx",
    "a\x00b",
    "a\nb",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leads_out_of_the_bundle_is_refused_and_not_opened(copied_bundle: Path, name: str) -> None:
    os.mkfifo(copied_bundle.parent / "outside.onnx")  # opened, it would wait for a writer for ever

    def rename(document: Document) -> None:
        section = next(each for each in document["topology"]["sections"] if each["tier"] == "device")
        document["files"][name] = document["files"][section["file"]]
        section["file"] = name

    reseal(copied_bundle, rename)
    with pytest.raises(BadBundle, match=r"^manifest\.json: (topology\.sections\.0\.file|files\.)"):
        start(copied_bundle)


def at(*keys: Any, value: Any) -> Callable[[Document], None]:
    """A change of one value in a manifest."""

    def change(document: Document) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return change


HUGE = 2**40
VALUES = {
    f"{'.'.join(map(str, keys))} is {value}": at(*keys, value=value)
    for keys, values in {
        ("files", "cloud.onnx", "bytes"): (HUGE, -6, 1.5, "many"),
        ("files", "cloud.onnx", "sha256"): ("", "x" * 64),
        ("topology", "devices", 0, "view", "shape"): ([HUGE], [-6, 12, 12], [0], [], [2**20, 2**20], [1] * 40, [2**70]),
        ("topology", "sections", 0, "features", "shape"): ([HUGE], [-6], [0, 3], [], [2**16, 2**16]),
        ("topology", "sections", 0, "index"): (HUGE, -6, 1),
        ("topology", "sections", 0, "exit"): ("cloud", "edge"),
        ("topology", "sections", 0, "tier"): ("cloud", "edge"),
        ("topology", "sections", 0, "features"): (None,),
        ("topology", "edges", 0, "devices"): (
            [HUGE],
            [-6],
            [0, 0, 1, 2, 3, 4, 5],
            [0],
            [5, 4, 3, 2, 1, 0],
            [0, 1, 2, 3, 4, 6],
        ),
        ("topology", "devices"): ([{"view": {"shape": [4], "dtype": "UINT8"}}] * 5000,),
        ("topology", "sections"): ([],),
    }.items()
    for value in values
}


@pytest.mark.parametrize("change", VALUES.values(), ids=[name[:70] for name in VALUES])
def test_a_number_out_of_bounds_is_refused_before_memory_is_taken(
    copied_bundle: Path, change: Callable[[Document], None]
) -> None:
    reseal(copied_bundle, change)
    tracemalloc.start()
    try:
        with pytest.raises(BadBundle, match=r"^manifest\.json: ") as refused:
            start(copied_bundle)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST
    assert len(str(refused.value)) < 500


def external(model: onnx.ModelProto) -> None:
    """The first weights are in a file of the working folder."""
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "weights.bin")


def external_by_entry_alone(model: onnx.ModelProto) -> None:
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "../weights.bin"


def constant(location: str) -> onnx.NodeProto:
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], np.ones(1, np.float32).tobytes(), raw=True)
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    return helper.make_node("Constant", [], ["outside"], value=tensor)


def external_in_a_branch(model: onnx.ModelProto) -> None:
    branch = helper.make_graph(
        [constant("weights.bin")], "branch", [], [helper.make_tensor_value_info("outside", TensorProto.FLOAT, [1])]
    )
    condition = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    model.graph.node.append(helper.make_node("Constant", [], ["condition"], value=condition))
    model.graph.node.append(helper.make_node("If", ["condition"], ["o"], then_branch=branch, else_branch=branch))


def custom(domain: str) -> Callable[[onnx.ModelProto], None]:
    def add(model: onnx.ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid(domain, 1))
        model.graph.node.append(helper.make_node("Load", [], ["loaded"], domain=domain))

    return add


HARM: dict[str, Callable[[onnx.ModelProto], None]] = {
    "external data": external,
    "external data by its entry alone": external_by_entry_alone,
    "external data in a branch": external_in_a_branch,
    "a custom operator": custom("com.example"),
    "an operator of the runtime's own": custom("com.microsoft"),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_a_section_that_needs_anything_outside_its_file_is_refused(
    copied_bundle: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[onnx.ModelProto], None]
) -> None:
    model = onnx.load(copied_bundle / "device-0.onnx")
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0])
    harm(model)
    (copied_bundle / "device-0.onnx").write_bytes(model.SerializeToString())
    pin(copied_bundle, "device-0.onnx")
    working = copied_bundle.parent / "working"
    working.mkdir()
    (working / "weights.bin").write_bytes(weights.tobytes())  # there, and not to be read
    monkeypatch.chdir(working)
    with pytest.raises(BadBundle, match=r"^device-0\.onnx: .*(its data in another file|has operators of)"):
        start(copied_bundle)


def test_functions_that_a_file_defines_itself_are_no_custom_operators(tmp_path: Path) -> None:
    twice = helper.make_function(
        "mine", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], [helper.make_opsetid("", 18)]
    )
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in ("view", "scores")]
    graph = helper.make_graph([helper.make_node("Twice", ["view"], ["scores"], domain="mine")], "g", info[:1], info[1:])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    model = helper.make_model(graph, functions=[twice], opset_imports=opsets, ir_version=9)
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    outputs = Section(tmp_path / "x.onnx").run(view=np.ones((1, 2), np.float32))
    assert outputs["scores"].tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("one", "other", "tier"),
    [
        ("device-0.onnx", "device-1.onnx", "device"),
        ("device-0.onnx", "cloud.onnx", "device"),
        ("device-0.onnx", "cloud.onnx", "cloud"),
        ("edge.onnx", "local.onnx", "edge"),
        ("edge.onnx", "cloud.onnx", "edge"),
        ("local.onnx", "device-0.onnx", "edge"),
    ],
)
def test_sections_that_were_swapped_are_refused_when_the_tier_starts(
    copied_bundle: Path, one: str, other: str, tier: str
) -> None:
    kept = (copied_bundle / one).read_bytes()
    shutil.copyfile(copied_bundle / other, copied_bundle / one)
    (copied_bundle / other).write_bytes(kept)
    pin(copied_bundle, one, other)
    with pytest.raises(BadBundle, match=r"^(device-0|local|edge|cloud)\.onnx: ") as refused:
        start(copied_bundle, tier)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("y", lambda array: array[:0]),
        ("y", lambda array: array[:-1]),
        ("present", lambda array: array[:, :1]),
        ("view_0", lambda array: array[:, 0]),
        ("device_scores", lambda array: array[..., :1]),
        ("cloud_scores", lambda array: array[:, np.newaxis]),
        ("edge_features", lambda array: array[:, 0]),
        ("local_scores", lambda array: array.astype(str)),
    ],
)
def test_golden_events_of_another_network_are_refused(copied_bundle: Path, name: str, change: Any) -> None:
    arrays: dict[str, Any] = dict(Bundle.open(copied_bundle).golden)
    np.savez(copied_bundle / GOLDEN_FILE, **arrays | {name: change(arrays[name])})
    pin(copied_bundle, GOLDEN_FILE)
    for tier in ("device", "edge", "cloud"):
        with pytest.raises(BadBundle, match=r"^golden\.npz: "):
            start(copied_bundle, tier)


def test_what_is_no_file_of_the_folder_is_refused(copied_bundle: Path) -> None:
    section = copied_bundle / "device-0.onnx"
    section.rename(copied_bundle.parent / "elsewhere.onnx")
    section.symlink_to(copied_bundle.parent / "elsewhere.onnx")
    with pytest.raises(BadBundle, match=r"^device-0\.onnx: is a link out of "):
        start(copied_bundle)
    section.unlink()
    os.mkfifo(section)
    with pytest.raises(BadBundle, match=r"^device-0\.onnx: is missing"):
        start(copied_bundle)
    for name in ("manifest.json", "policy.json"):
        kept = (copied_bundle / name).read_bytes()
        (copied_bundle / name).unlink()
        os.mkfifo(copied_bundle / name)
        with pytest.raises(BadBundle, match=f"^{name}: cannot be read .it is no regular file"):
            start(copied_bundle)
        (copied_bundle / name).unlink()
        with (copied_bundle / name).open("wb") as file:
            file.truncate(1 << 40)  # of holes
        with pytest.raises(BadBundle, match=f"^{name}: cannot be read .it has 1099511627776 bytes"):
            start(copied_bundle)
        (copied_bundle / name).write_bytes(kept)


def test_a_folder_of_links_within_itself_is_a_bundle(copied_bundle: Path, tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"  # as Kubernetes mounts what it may exchange
    shutil.copytree(copied_bundle, mounted / "..2026")
    (mounted / "..data").symlink_to("..2026")
    for file in copied_bundle.iterdir():
        (mounted / file.name).symlink_to(f"..data/{file.name}")
    start(mounted)


@pytest.mark.parametrize(
    "command", [("serve", "device", "--bundle"), ("doctor", "--bundle-only"), ("infer", "--bundle")]
)
def test_a_command_refuses_a_hostile_bundle_in_one_sentence(copied_bundle: Path, command: tuple[str, ...]) -> None:
    reseal(copied_bundle, at("topology", "devices", 0, "view", "shape", value=[HUGE]))
    ended = run("ddnn", *command, str(copied_bundle))
    assert ended.returncode in (1, 2)
    assert "manifest.json: topology.devices.0.view.shape" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
