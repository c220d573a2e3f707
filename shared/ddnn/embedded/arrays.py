"""Constants as arrays of C: floats, weights of eight bits with their scales, weights that are signs as single bits."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ddnn.embedded.graph import Graph
from ddnn.embedded.values import Kind, literal
from ddnn.types import Array

__all__ = ["Arrays", "Weights"]

_A_LINE: Final = {"float": 8, "int8_t": 20, "uint8_t": 16}


@dataclass(frozen=True)
class Weights:
    """A layer's weights: how one is multiplied by, at `w`, with an output `o`."""

    kind: str  #: `float32`, `int8` or `bits1`
    names: tuple[str, ...]

    def times(self, number: str) -> str:
        """C that adds a number times the weight to `sum`."""
        if self.kind == "float32":
            return f"sum += {number} * {self.names[0]}[w];"
        if self.kind == "int8":
            return f"sum += {number} * ((float){self.names[0]}[w] * {self.names[1]}[o]);"
        return f"const float one = {number};\nsum += DDNN_BIT({self.names[0]}, w) ? one : -one;"

    def agrees(self, bit: str) -> str:
        """C that adds ±1, given as a bit, times a weight of ±1."""
        return f"sum += DDNN_BIT({self.names[0]}, w) == {bit} ? 1 : -1;"


@dataclass
class Arrays:
    """All constants of a section, each written once."""

    texts: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)  #: bytes by name
    signs: int = 0  #: weights kept as single bits
    _known: dict[tuple[str, bytes], str] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(self.sizes.values())

    def add(self, array: Array, kind: str) -> str:
        """The name of an array of numbers of that type."""
        flat = np.ascontiguousarray(array).ravel()
        key = kind, flat.tobytes()
        if key not in self._known:
            name = self._known[key] = f"c{len(self._known)}"
            numbers = [literal(each, Kind.FLOAT) if kind == "float" else str(int(each)) for each in flat]
            step = _A_LINE[kind]
            lines = [", ".join(numbers[at : at + step]) for at in range(0, len(numbers), step)]
            self.texts.append(f"static const {kind} {name}[{flat.size}] = {{\n    " + ",\n    ".join(lines) + "};")
            self.sizes[name] = flat.size * (4 if kind == "float" else 1)
        return self._known[key]

    def weights(self, graph: Graph, name: str, *, turned: bool) -> Weights:
        """The weights called `name`, an output's one behind the other; `turned`: outputs are their last axis."""
        array = _first(graph.values[name].astype(np.float32), turned)
        if array.size and bool((np.abs(array) == 1).all()):
            self.signs += array.size
            return Weights("bits1", (self.add(np.packbits(array > 0, bitorder="little"), "uint8_t"),))
        node = graph.made_by.get(name)
        if node and node.op == "DequantizeLinear" and len(node.inputs) == 2:
            whole, scale = (np.asarray(graph.values[each]) for each in node.inputs)
            axis = int(node.attributes.get("axis", 1)) % whole.ndim
            if whole.dtype == np.int8 and axis == (whole.ndim - 1 if turned else 0):
                scales = np.broadcast_to(scale.astype(np.float32), len(array))
                return Weights("int8", (self.add(_first(whole, turned), "int8_t"), self.add(scales, "float")))
        return Weights("float32", (self.add(array, "float"),))


def _first(array: Array, turned: bool) -> Array:
    """With outputs as the first axis."""
    return np.moveaxis(array, -1, 0) if turned else array
