"""How large a request may be, from the tensors that a tier takes: JSON costs many times its length to read."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from ddnn.errors import TooLarge
from ddnn.wire.tensors import DATATYPES

__all__ = ["HARMLESS", "Limits"]

HARMLESS: Final = 64 << 10  # JSON up to this many bytes is harmless whatever it holds
_SMALL_VALUES: Final = HARMLESS // 8
_TEXT: Final = 256  # bytes of an element of a BYTES tensor


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request."""

    json_bytes: int  # most bytes of JSON
    json_values: int  # most values in it, lists and objects included: each becomes an object many times its length
    body_bytes: int  # most bytes of JSON and raw tensors together

    @classmethod
    def of(cls, tensors: Iterable[tuple[str, Sequence[int]]], *, rows: int, cap: int) -> Self:
        """Room for `rows` rows of `tensors`, each a datatype and a shape, in either form, within `cap` bytes."""
        sizes = [_row(datatype, shape) for datatype, shape in tensors]
        characters, values, raw = (sum(size) for size in zip(*sizes, strict=True))
        as_json = min(rows, max(1, cap // characters))
        json_bytes = min(cap, HARMLESS + rows * characters)
        return cls(json_bytes, _SMALL_VALUES + as_json * values, min(cap, json_bytes + rows * raw))

    def check_json(self, text: memoryview) -> None:
        """Raise `TooLarge` for JSON that must not be parsed."""
        if len(text) > self.json_bytes:
            raise TooLarge(f"the body has {len(text)} bytes of JSON; expected at most {self.json_bytes}")
        if len(text) <= HARMLESS:
            return
        # Every value is the first in its brackets or follows a comma.
        values = sum(text.tobytes().count(mark) for mark in (b",", b"[", b"{"))
        if values > self.json_values:
            raise TooLarge(f"the body's JSON has about {values} values; expected at most {self.json_values}")


def _row(datatype: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """Characters and values of one row as nested lists, and its bytes as a raw tensor."""
    elements = math.prod(shape[1:])
    lists = sum(math.prod(shape[1:end]) for end in range(1, len(shape)))
    if datatype == "BYTES":
        # Escapes may triple a text, and there may be commas and brackets in it.
        return elements * (3 * _TEXT + 4), elements * 8 + lists, elements * (_TEXT + 4)
    size = DATATYPES[datatype].itemsize
    return elements * (8 if size == 1 else 28), elements + lists, elements * size
