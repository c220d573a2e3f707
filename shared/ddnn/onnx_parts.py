"""A part of an ONNX file, from values that are given to values that are wanted, cut out without reading it as a model.

A section that looks at each child by itself, and joins what it made of them, keeps names for what it made (`EACH`): the
part up to there need not run again for each presence mask. Numbers are those of `onnx.proto`.
"""

from collections.abc import Collection
from typing import Final

from ddnn.onnx_file import fields

__all__ = ["EACH", "opened", "part", "values_of_each"]

EACH: Final = "of_each"
"""What a section made of its children, one by one, is called so, or so with a number behind."""
_GRAPH: Final = 7
_NODE, _INPUT, _OUTPUT = 1, 11, 12
_TAKES, _GIVES, _ATTRIBUTE = 1, 2, 5
_NAME: Final = 1
_INNER_GRAPHS: Final = (6, 11)
_FLOAT: Final = 1


def values_of_each(content: bytes) -> tuple[str, ...]:
    """Names of what the section in a file makes of each child; none where it joins them first, or has nodes within."""
    nodes = [value for number, value in fields(_graph(content)[1]) if number == _NODE and isinstance(value, memoryview)]
    if any(_has_inner(node) for node in nodes):
        return ()
    return tuple(name for node in nodes for name in _names(node, _GIVES) if name.startswith(EACH))


def part(content: bytes, given: Collection[str] = (), wanted: Collection[str] = ()) -> bytes:
    """The file that makes `wanted` of `given`, values anywhere in the graph, and of those of its inputs that it needs.

    By default it makes the graph's own outputs.
    """
    around, graph = _graph(content)
    entries = [(number, value) for number, value in fields(graph) if isinstance(value, memoryview)]
    outputs = {_names(value, _NAME)[0]: value for number, value in entries if number == _OUTPUT}
    wanted = wanted or [*outputs]
    needed, nodes, body = set(wanted) - set(given), list[memoryview](), bytearray()
    for node in [value for number, value in entries if number == _NODE][::-1]:  # each stands behind what it takes
        if needed & set(_names(node, _GIVES)):
            nodes.append(node)
            needed |= set(_names(node, _TAKES)) - set(given)
    for node in reversed(nodes):
        body += _field(_NODE, node)
    for number, value in entries:
        if number not in (_NODE, _INPUT, _OUTPUT) or (number == _INPUT and _names(value, _NAME)[0] in needed):
            body += _field(number, value)
    for name in given:
        body += _field(_INPUT, _floats(name))
    for name in wanted:
        body += _field(_OUTPUT, outputs.get(name) or _floats(name))
    return around + _field(_GRAPH, body)


def opened(content: bytes, wanted: Collection[str]) -> bytes:
    """The file that gives `wanted`, values anywhere in the graph, as outputs too; of whatever types they are."""
    _, graph = _graph(content)
    given = {
        name
        for number, value in fields(graph)
        if number == _OUTPUT and isinstance(value, memoryview)
        for name in _names(value, _NAME)
    }
    more = b"".join(_field(_OUTPUT, _field(_NAME, name.encode())) for name in wanted if name not in given)
    return content + _field(_GRAPH, more)  # a message that comes twice is one, with the fields of both


def _graph(content: bytes) -> tuple[bytes, memoryview]:
    """All of a model but its graph, and the graph; raise `ValueError` where there is none."""
    around, graph = bytearray(), None
    for number, value in fields(memoryview(content)):
        if number == _GRAPH and isinstance(value, memoryview):
            graph = value
        else:
            around += _field(number, value)
    if graph is None:
        raise ValueError("it has no graph")
    return bytes(around), graph


def _names(message: memoryview, field: int) -> list[str]:
    return [bytes(v).decode() for number, v in fields(message) if number == field and isinstance(v, memoryview)]


def _has_inner(node: memoryview) -> bool:
    """Whether a node has graphs of its own, which may take any value of the graph around them."""
    attributes = (value for number, value in fields(node) if number == _ATTRIBUTE)
    return any(
        number in _INNER_GRAPHS
        for attribute in attributes
        if isinstance(attribute, memoryview)
        for number, _ in fields(attribute)
    )


def _floats(name: str) -> bytes:
    """A value of floats, of any shape."""
    return _field(_NAME, name.encode()) + _field(2, _field(1, _field(1, _FLOAT)))


def _field(number: int, value: int | bytes | bytearray | memoryview) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + bytes(value)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes(found + bytes([value]))
