"""Tiny real networks and events: each section is one matrix, written as ONNX text."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import pytest

from ddnn.bundle import Bundle, Manifest, Training
from ddnn.data import Dataset
from ddnn.policy import Policy
from ddnn.topology import Features, Files, Topology, View
from ddnn.types import Array

__all__ = ["MakeBundle", "MakeData", "make_bundle", "make_data"]

SIZE, CLASSES, BITS = 4, 3, 12

MASK = """
  mask = Cast <to = 1> (present)
  wide = Unsqueeze(mask, last)
"""
SIGN = """
  before = MatMul(joined, v)
  above = GreaterOrEqual(before, zero)
  bits = Cast <to = 2> (above)
"""
FUSE = """
  floats = Cast <to = 1> (features)
  centred = Sub(floats, half)
  masked = Mul(centred, wide)
  joined = ReduceSum <keepdims = 0> (masked, middle)
  scores = MatMul(joined, w)
"""
MEAN = """
  masked = Mul(scores, wide)
  total = ReduceSum <keepdims = 0> (masked, middle)
  seen = ReduceSum <keepdims = 1> (mask, middle)
  fused = Div(total, seen)
"""
SECTIONS = {
    "device": "(float[B,4] view) => (float[B,3] scores, uint8[B,12] features) {"
    + "joined = Identity(view) scores = MatMul(joined, w)"
    + SIGN.replace("bits", "features"),
    "local": "(float[B,D,3] scores, bool[B,D] present) => (float[B,3] scores_out) {"
    + MASK
    + MEAN.replace("fused", "scores_out"),
    "edge": "(uint8[B,D,12] features, bool[B,D] present) => (float[B,3] scores, uint8[B,12] features_out) {"
    + MASK
    + FUSE
    + SIGN.replace("bits", "features_out"),
    "cloud": "(uint8[B,D,12] features, bool[B,D] present) => (float[B,3] scores) {" + MASK + FUSE,
    "raw": "(float[B,D,4] view, bool[B,D] present) => (float[B,3] scores) {"
    + MASK
    + "masked = Mul(view, wide) joined = ReduceSum <keepdims = 0> (masked, middle) scores = MatMul(joined, w)",
}

MakeBundle = Callable[..., Bundle]
MakeData = Callable[..., Dataset]


def write_section(folder: Path, name: str, seed: int) -> str:
    """Write one section with random weights and return its file's name."""
    rng = np.random.default_rng(seed)
    kind = name.split("-")[0]
    rows = SIZE if kind in ("device", "raw") else BITS
    constants: dict[str, Array] = {
        "w": rng.normal(size=(rows, CLASSES)).astype(np.float32),
        "v": rng.normal(size=(rows, BITS)).astype(np.float32),
        "zero": np.zeros(1, np.float32),
        "half": np.full(1, 0.5, np.float32),
        "last": np.array([2], np.int64),
        "middle": np.array([1], np.int64),
    }
    text = SECTIONS[kind]
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{kind} {text}}}')
    used = {value for node in model.graph.node for value in node.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, key) for key, value in constants.items() if key in used
    )
    onnx.save(model, folder / f"{name}.onnx")
    return f"{name}.onnx"


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """Make a bundle: `edges` names each edge's devices, `section` says if edges have one; `raw`: only the cloud has."""

    def make(
        edges: Sequence[Sequence[int]] = ((0, 1, 2),), *, section: bool = True, raw: bool = False, name: str = "bundle"
    ) -> Bundle:
        folder = tmp_path / name
        folder.mkdir()
        count = sum(map(len, edges))
        files = Files(
            [write_section(folder, f"device-{i}", i) for i in range(0 if raw else count)],
            [write_section(folder, f"local-{i}", 0) for i in range(0 if raw else len(edges))],
            [write_section(folder, f"edge-{i}", 100 + i) for i in range(len(edges) if section and not raw else 0)],
            write_section(folder, "raw" if raw else "cloud", 200),
        )
        topology = Topology.tiered(
            [View(shape=(SIZE,), dtype="FP32")] * count,
            edges,
            None if raw else Features(shape=(BITS,)),
            Features(shape=(BITS,)) if files.edges else None,
            files=files,
            fusion={"local": "mean", "edge": "mean", "cloud": "mean"},
        )
        training = Training(command="", config={}, seed=0, data={}, test={}, versions={})
        manifest = Manifest(name="tiny", classes=("a", "b", "c"), topology=topology, files={}, training=training)
        sealed = Bundle.seal(folder, manifest)
        Policy(bundle=sealed.fingerprint).write(folder)
        return Bundle.open(folder)

    return make


@pytest.fixture
def make_data() -> MakeData:
    """Make `events` random events of `devices` devices; `hidden` is the share of views that are not there."""

    def make(events: int = 40, devices: int = 3, *, seed: int = 0, hidden: float = 0.0) -> Dataset:
        rng = np.random.default_rng(seed)
        present = rng.random((events, devices)) >= hidden
        present[np.arange(events), rng.integers(devices, size=events)] = True
        y = rng.integers(CLASSES, size=events)
        return Dataset(
            name="random",
            views=tuple(rng.normal(size=(events, SIZE)).astype(np.float32) for _ in range(devices)),
            y=y,
            y_dev=np.where(present, y[:, None], -1),
            present=present,
            classes=("a", "b", "c"),
            split=np.full(events, "test"),
            grid=None,
            index=np.arange(events),
            fingerprint="f" * 64,
            source={"source": "random"},
        )

    return make
