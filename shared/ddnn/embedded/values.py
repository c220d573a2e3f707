"""What a section's values are in C: constants, places in memory, and what is computed only where it is needed.

Numbers of one event lie in C order; `i` is a number's place. A value that is computed takes what its operands have at
the same place, or a constant that is spread over the axes that it lacks.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np

from ddnn.types import Array

__all__ = ["Buffer", "Computed", "Constant", "Kind", "Layer", "Made", "Several", "Stored", "Value"]
__all__ += ["leaves", "literal", "place"]

Shape = tuple[int, ...]


class Kind(StrEnum):
    """A number's type in C."""

    FLOAT = "float"
    BYTE = "uint8_t"


@dataclass(eq=False)
class Buffer:
    """A place for numbers: in the section's own memory, or one of the caller's."""

    name: str
    kind: Kind
    size: int
    own: bool = True


@dataclass(frozen=True, eq=False)
class Value:
    """One value of the graph, of one event."""

    shape: Shape
    kind: Kind

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Constant(Value):
    """The same for every event."""

    array: Array

    @classmethod
    def of(cls, array: Array) -> "Constant":
        kind = Kind.FLOAT if array.dtype.kind == "f" else Kind.BYTE
        return cls(array.shape, kind, array)

    @property
    def uniform(self) -> bool:
        return bool(self.size) and bool((self.array == self.array.flat[0]).all())


@dataclass(frozen=True, eq=False)
class Stored(Value):
    """In a buffer."""

    buffer: Buffer


@dataclass(frozen=True, eq=False)
class Computed(Value):
    """By a formula of C over its operands, `{0}` the first."""

    formula: str
    operands: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Several(Value):
    """A sequence of values."""

    each: tuple[Value, ...]


@dataclass(eq=False)
class Layer:
    """A loop over outputs that each take many inputs; what is done with an output follows in the same loop."""

    what: str
    template: str  #: of `ddnn/templates/c`, filled in with these values
    values: dict[str, Any]
    reads: list[Buffer]
    whole: bool = False  #: its sums are whole numbers
    macs: int = 0
    arrays: list[str] = field(default_factory=list)  #: constants that it reads


@dataclass(frozen=True, eq=False)
class Made(Value):
    """What a layer makes, which has not run yet."""

    layer: Layer


_SPECIAL: Final = {math.inf: "INFINITY", -math.inf: "-INFINITY"}


def literal(number: Any, kind: Kind) -> str:
    """A number as it is written in C, to the last bit."""
    if kind is Kind.BYTE:
        return str(int(number))
    if math.isnan(number):
        return "NAN"
    if number in _SPECIAL:
        return _SPECIAL[float(number)]
    text = f"{np.float32(number):.9g}"
    return (text if "." in text or "e" in text else f"{text}.0") + "f"


def place(operand: Shape, shape: Shape, index: str = "i") -> str:
    """Where the number of `operand` is that a number of `shape` at `index` takes, by ONNX's rule of broadcasting."""
    padded = (1,) * (len(shape) - len(operand)) + operand
    parts, axis = [], len(shape)
    inner, step = 1, 1
    while axis:  # groups of axes that the operand has, from the last
        axis -= 1
        if padded[axis] == 1:
            inner *= shape[axis]
            continue
        size, below = 1, inner
        while axis >= 0 and padded[axis] != 1:
            size *= shape[axis]
            axis -= 1
        axis += 1
        inner *= size
        found = index if below == 1 else f"{index} / {below}"
        if math.prod(shape[:axis]) > 1:
            found = f"{found} % {size}"
        parts.append(found if step == 1 else f"({found}) * {step}")
        step *= size
    return " + ".join(reversed(parts)) or "0"


def leaves(value: Value) -> Iterator[Value]:
    """The values that one is made of, which are not themselves computed."""
    if isinstance(value, Computed):
        for operand in value.operands:
            yield from leaves(operand)
    else:
        yield value
