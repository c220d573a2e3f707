"""What an ONNX file would have its reader open or load besides itself, found without reading it as a model.

Names and numbers are those of `onnx.proto`; bytes that are no protocol buffer are a `ValueError`.
"""

from collections.abc import Iterator
from typing import Final

__all__ = ["fields", "refuse_what_is_outside"]

_STANDARD: Final = frozenset({"", "ai.onnx", "ai.onnx.ml"})
_INSIDE: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse tensor",
        23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
    "tensor": {},
}
"""Messages within messages, by their field's number: all ways to a tensor or a node."""
_EXTERNAL_DATA, _DATA_LOCATION, _EXTERNAL, _NODE_DOMAIN, _FUNCTION_DOMAIN = 13, 14, 1, 7, 10
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_LONGEST: Final = 10  #: bytes of a number


def refuse_what_is_outside(content: bytes) -> None:
    """Raise `ValueError` for data in other files, and for operators neither standard nor defined in the file."""
    domains, defined = set[str](), set(_STANDARD)
    waiting: list[tuple[str, memoryview]] = [("model", memoryview(content))]
    while waiting:
        kind, message = waiting.pop()
        for number, value in fields(message):
            if isinstance(value, memoryview) and number in _INSIDE[kind]:
                waiting.append((_INSIDE[kind][number], value))
            elif kind == "tensor" and (number == _EXTERNAL_DATA or (number, value) == (_DATA_LOCATION, _EXTERNAL)):
                raise ValueError("it has its data in another file; expected all of it in this one")
            elif kind == "node" and number == _NODE_DOMAIN and isinstance(value, memoryview):
                domains.add(bytes(value).decode(errors="replace"))
            elif kind == "function" and number == _FUNCTION_DOMAIN and isinstance(value, memoryview):
                defined.add(bytes(value).decode(errors="replace"))
    if strange := sorted(domains - defined):
        raise ValueError(f"it has operators of {strange[0][:60]!r}; expected ONNX's own, and functions of the file")


def fields(message: memoryview, *, fixed: bool = False) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers and values of a message's fields; those of a fixed size, floats, are passed over unless `fixed`."""
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _number(message, at)
            yield number, value
            continue
        if wire not in (_EIGHT, _BYTES, _FOUR):
            raise ValueError("it is no ONNX")
        length, at = _number(message, at) if wire == _BYTES else (8 if wire == _EIGHT else 4, at)
        if length > len(message) - at:
            raise ValueError("it is cut short, or no ONNX")
        if wire == _BYTES or fixed:
            yield number, message[at : at + length]
        at += length


def _number(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(message[at : at + _LONGEST]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("it is no ONNX")
