"""A device's section as C: source, header, and what it costs."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

import ddnn
from ddnn.bundle import Bundle
from ddnn.codec import BelowBest, Bitwise, Codec, Plain
from ddnn.embedded.graph import Graph, read_graph
from ddnn.embedded.memory import laid_out
from ddnn.embedded.values import Buffer, Kind
from ddnn.embedded.writer import Step, Steps, Store, write
from ddnn.errors import BadInput
from ddnn.pages import render
from ddnn.stream.asks import Described
from ddnn.topology import Topology
from ddnn.types import Exit, Tier
from ddnn.wire import DATATYPES

__all__ = ["CSection", "translated"]


@dataclass(frozen=True)
class CSection:
    """What was written of one device."""

    device: int
    header: str
    source: str
    layers: tuple[dict[str, Any], ...]  #: of each loop what it is, its output's shape, bytes of constants, operations
    operators: dict[str, int]  #: how many of each run
    weights: int  #: bytes of all constants
    one_bit: int  #: weights that are single bits
    memory: int  #: bytes, static
    macs: int  #: multiplications, or additions of ±1, an event

    @property
    def document(self) -> dict[str, Any]:
        names = ("device", "weights", "one_bit", "memory", "macs", "operators")
        return {name: getattr(self, name) for name in names} | {"layers": [*self.layers]}


def translated(bundle: Bundle, device: int) -> CSection:
    """Write a device's section in C; raise `BadInput` where the network has none, or has what is not written in C."""
    topology = bundle.topology
    spec = topology.section(Exit.DEVICE, device)
    features = topology.own_features(Tier.DEVICE, device)
    if device >= len(topology.devices):
        raise BadInput(f"--device is {device}; expected 0 to {len(topology.devices) - 1}")
    if spec is None or features is None:
        raise BadInput(f"the devices of {bundle.manifest.name} have no sections; expected a network that has them")
    view, codec, scores = topology.devices[device].view, features.coded, topology.score_codec(Exit.DEVICE)
    graph = read_graph(bundle.checked(spec.file), np.zeros((1, *view.shape), view.numpy_dtype))
    number = Kind.BYTE if view.dtype == "UINT8" else Kind.FLOAT
    classes = len(bundle.manifest.classes)
    outputs = {
        graph.outputs[0]: (Buffer("scores", Kind.FLOAT, classes, own=False), "scores[i] = {};".format),
        graph.outputs[1]: (Buffer("features", Kind.BYTE, features.bytes, own=False), _kept(codec, spec.file)),
    }
    steps = write(graph, Buffer("view", number, view.bytes // number_size(number), own=False), outputs)
    places, sizes = laid_out(steps.steps)
    memory = sum(size * number_size(kind) for kind, size in sizes.items())
    macs = sum(step.macs for step in steps.steps)
    if not isinstance(scores, BelowBest) and scores.name not in ("float16", "float32"):
        raise BadInput(f"scores go up in {scores.name!r}; expected float16, float32 or sqrt8, which are written in C")
    values: dict[str, Any] = {
        "device": device,
        "bundle": bundle.manifest.name,
        "version": ddnn.__version__,
        "fingerprint": bundle.fingerprint,
        "devices": len(topology.devices),
        "classes": classes,
        "view": view.bytes // number_size(number),
        "view_shape": " × ".join(map(str, view.shape)),
        "number": number.value,
        "features": features.bytes,
        "features_codec": features.codec,
        "feature_bits": codec.bits if isinstance(codec, Bitwise) else 0,
        "scores": scores.bytes((classes,)),
        "scores_codec": scores.name,
        "weights": steps.arrays.bytes,
        "memory": memory,
        "macs": macs,
        "described": {name: _quoted(text) for name, text in _described(topology, device, classes).items()},
        "arrays": steps.arrays.texts,
        "blocks": [(kind.value, size) for kind, size in sizes.items() if size],
        "buffers": [(buffer.name, buffer.kind.value, at) for buffer, at in places.items()],
        "steps": [_drawn(step) for step in steps.steps],
    }
    text = "\n".join(step["text"] for step in values["steps"])
    values["singles"] = "ddnn_single(" in text or scores.name == "sqrt8"
    values["halves"] = values["singles"] or "ddnn_half(" in text or scores.name == "float16"
    values["maths"] = scores.name == "sqrt8" or bool(re.search(r"\b(?:[a-z]+f\(|INFINITY|NAN)", text))
    return CSection(
        device=device,
        header=render("c/ddnn_section.h", values),
        source=render("c/ddnn_section.c", values),
        layers=tuple(_layer(step, steps) for step in steps.steps),
        operators=_operators(graph),
        weights=steps.arrays.bytes,
        one_bit=steps.arrays.signs,
        memory=memory,
        macs=macs,
    )


def number_size(kind: Kind) -> int:
    """Bytes of a number."""
    return 4 if kind is Kind.FLOAT else 1


def _described(topology: Topology, device: int, classes: int) -> dict[str, str]:
    """The descriptions of a device's requests on a stream, as a device in Python has them."""
    parameters = (("device", device), ("max_exit", Exit.CLOUD.value))
    event = ("event", "BYTES", ())
    features = topology.own_features(Tier.DEVICE, device)
    assert features
    rows: dict[str, list[tuple[str, str, tuple[int, ...]]]] = {
        "scores": [_row("scores", topology.score_codec(Exit.DEVICE), (classes,))],
        "features": [_row("features", features.coded, features.shape)],
        "waits": [("waits", "BOOL", ())],
    }
    return {name: Described((event, *row), parameters).text().decode() for name, row in rows.items()}


def _row(name: str, codec: Codec, shape: tuple[int, ...]) -> tuple[str, str, tuple[int, ...]]:
    return name, codec.datatype, codec.wire_shape(shape)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _kept(codec: Codec, file: str) -> Store:
    """How a feature is kept as it goes up."""
    if isinstance(codec, Bitwise):
        each, bits = 8 // codec.bits, codec.bits
        return f"features[i / {each}] |= (uint8_t)({{}} << i % {each} * {bits});".format
    if isinstance(codec, Plain) and codec.name in ("float16", "float32"):
        size = DATATYPES[codec.datatype].itemsize
        word = "uint16_t word = ddnn_half(one);" if size == 2 else "uint32_t word;\nmemcpy(&word, &one, 4);"
        loop = f"for (int n = 0; n < {size}; n++)\n    features[{size} * i + n] = (uint8_t)(word >> 8 * n);"
        return lambda number: f"const float one = {number};\n{word}\n{loop}"
    raise BadInput(f"{file} gives features in the codec {codec.name!r}; expected bits1 to bits8, float16 or float32")


def _drawn(step: Step) -> dict[str, Any]:
    text = render(f"c/{step.template}", step.values).rstrip("\n")
    return {"what": step.what, "shape": step.shape, "text": text}


def _layer(step: Step, steps: Steps) -> dict[str, Any]:
    size = sum(steps.arrays.sizes[name] for name in step.arrays)
    return {"what": step.what, "shape": [*step.shape], "weights": size, "macs": step.macs}


def _operators(graph: Graph) -> dict[str, int]:
    return dict(sorted(Counter(node.op for node in graph.running).items()))
