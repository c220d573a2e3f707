"""The graph of a section as its ONNX file has it: nodes with attributes, and what all their values are for one event.

The file is read field by field (`ddnn.onnx_file`), so that no `onnx` is needed; numbers are those of `onnx.proto`.
Shapes and constants come from running every node once, in ONNX Runtime, on one event.
"""

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from ddnn.errors import BadBundle
from ddnn.onnx_file import fields
from ddnn.runtime import every_value
from ddnn.types import Array

__all__ = ["Graph", "Node", "read_graph"]

_GRAPH: Final = 7
_NODE, _INITIALIZER, _OUTPUT = 1, 5, 12
_TAKES, _GIVES, _NAME, _OP, _ATTRIBUTE = 1, 2, 3, 4, 5
_FLOAT, _WHOLE, _TEXT, _FLOATS, _WHOLES = 2, 3, 4, 7, 8
_TENSOR_NAME: Final = 8
_STATIC: Final = frozenset({"Shape", "Size"})  #: of one event these are constants, whatever the values


@dataclass(frozen=True)
class Node:
    """One operator; an input that is left out has the name ``."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)  #: numbers, lists of numbers, text; nothing else

    def numbers(self, name: str, default: list[int]) -> list[int]:
        """An attribute of whole numbers."""
        return [int(number) for number in self.attributes.get(name, default)]

    def text(self, name: str, default: str) -> str:
        """An attribute of text."""
        return bytes(self.attributes.get(name, default.encode())).decode()

    def __str__(self) -> str:
        return self.name or self.outputs[0]


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can run, and values by name, each of one event: [1, …]."""

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    values: Mapping[str, Any]  #: arrays, lists of arrays for sequences
    constants: frozenset[str]  #: values that are the same for every event

    @cached_property
    def running(self) -> tuple[Node, ...]:
        """The nodes that have something to do for an event and that an output needs."""
        needed, found = set(self.outputs), list[Node]()
        for node in reversed(self.nodes):
            if needed & {*node.outputs} and not self.constants >= {*node.outputs}:
                found.append(node)
                needed |= {*node.inputs}
        return tuple(reversed(found))

    @cached_property
    def uses(self) -> Counter[str]:
        """How often each value is taken, by running nodes and as an output."""
        return Counter([name for node in self.running for name in node.inputs] + [*self.outputs])

    @cached_property
    def made_by(self) -> Mapping[str, Node]:
        """The node that makes a value."""
        return {name: node for node in self.nodes for name in node.outputs}


def read_graph(file: Path, view: Array) -> Graph:
    """The graph in `file`, run on the view of one event [1, …]; raise `BadBundle` where that fails."""
    try:
        graphs = [value for number, value in fields(memoryview(file.read_bytes())) if number == _GRAPH]
        graph = next(value for value in graphs if isinstance(value, memoryview))
        parts = [(number, value) for number, value in fields(graph) if isinstance(value, memoryview)]
        nodes = tuple(_node(value) for number, value in parts if number == _NODE)
        initial = {_text(value, _TENSOR_NAME) for number, value in parts if number == _INITIALIZER}
        outputs = tuple(_text(value, 1) for number, value in parts if number == _OUTPUT)
    except (ValueError, LookupError, StopIteration, struct.error) as error:
        raise BadBundle(f"{file.name}: it is no ONNX, or cut short") from error
    constants = {*initial, ""}
    for node in nodes:
        if node.op in _STATIC or constants >= {*node.inputs}:
            constants |= {*node.outputs}
    names = sorted((initial | {name for node in nodes for name in node.outputs if name}) - {"view"})
    values: dict[str, Any] = {"view": view, **every_value(file, names, {"view": view})}
    return Graph(nodes, outputs, values, frozenset(constants))


def _node(message: memoryview) -> Node:
    found: dict[int, list[memoryview]] = {}
    for number, value in fields(message):
        if isinstance(value, memoryview):
            found.setdefault(number, []).append(value)
    texts = {number: tuple(bytes(value).decode() for value in found.get(number, ())) for number in (1, 2, 3, 4)}
    attributes = dict(_attribute(value) for value in found.get(_ATTRIBUTE, ()))
    return Node("".join(texts[_OP]), "".join(texts[_NAME]), texts[_TAKES], texts[_GIVES], attributes)


def _attribute(message: memoryview) -> tuple[str, Any]:
    name, several = "", list[Any]()
    value: Any = None
    for number, part in fields(message, fixed=True):
        if number == 1 and isinstance(part, memoryview):
            name = bytes(part).decode()
        elif number == _FLOAT and isinstance(part, memoryview):
            value = struct.unpack("<f", part)[0]
        elif number == _WHOLE and isinstance(part, int):
            value = _signed(part)
        elif number == _TEXT and isinstance(part, memoryview):
            value = bytes(part)
        elif number == _FLOATS and isinstance(part, memoryview):  # one by one or packed
            several += np.frombuffer(part, "<f4").tolist()
        elif number == _WHOLES:
            several += [_signed(part)] if isinstance(part, int) else _packed(part)
    return name, several or value


def _packed(message: memoryview) -> Iterator[int]:
    at = 0
    while at < len(message):
        value, shift = 0, 0
        while message[at] > 127:
            value, shift, at = value | (message[at] & 127) << shift, shift + 7, at + 1
        yield _signed(value | message[at] << shift)
        at += 1


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _text(message: memoryview, field: int) -> str:
    found = [bytes(v).decode() for number, v in fields(message) if number == field and isinstance(v, memoryview)]
    return found[0]
