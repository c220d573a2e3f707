"""From a graph to the steps of a C function: one loop a layer, what follows it in the same loop, memory used again.

A value is kept in memory only where several take it or a layer reads it; all else is computed where it is needed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ddnn.embedded.arrays import Arrays
from ddnn.embedded.elementwise import formula, normalised
from ddnn.embedded.graph import Graph, Node
from ddnn.embedded.layers import Source, convolution, pool, product, reduction, rows_kept
from ddnn.embedded.values import (
    Buffer,
    Computed,
    Constant,
    Kind,
    Layer,
    Made,
    Several,
    Stored,
    Value,
    leaves,
    literal,
    place,
)
from ddnn.errors import BadInput
from ddnn.types import Array

__all__ = ["Step", "Steps", "write"]

_ALIASES: Final = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
_MOVING: Final = _ALIASES | {"Cast", "Concat", "Transpose", "Slice"}
_KINDS: Final = {"float32": Kind.FLOAT, "float16": Kind.FLOAT, "uint8": Kind.BYTE, "bool": Kind.BYTE}

Store = Callable[[str], str]
"""C that keeps a number, given as C, of the place `i`."""


@dataclass
class Step:
    """One loop."""

    what: str
    template: str
    values: dict[str, Any]
    reads: list[Buffer]
    writes: Buffer
    shape: tuple[int, ...]
    macs: int = 0
    arrays: set[str] = field(default_factory=set)


class Steps:
    """The steps that make a graph's outputs, and the constants that they read."""

    def __init__(self, graph: Graph, view: Buffer) -> None:
        self.graph, self.arrays, self.steps = graph, Arrays(), list[Step]()
        shape = graph.values["view"].shape
        self._values: dict[str, Value] = {"view": Stored(shape, view.kind, view)}
        self._buffers = 0
        for node in graph.running:
            self._take(node)

    def output(self, name: str, target: Buffer, store: Store) -> None:
        """Make an output of the graph, kept by `store`."""
        self._run(self._value(name), target, store)

    def _value(self, name: str) -> Value:
        if name not in self._values:
            self._values[name] = Constant.of(np.asarray(self.graph.values[name]))
        return self._values[name]

    def _take(self, node: Node) -> None:
        """Translate a node: what it makes may still have to run."""
        try:
            found = self._made(node)
        except (BadInput, LookupError, ValueError):  # in a form that no part of this expects
            found = None
        if found is None or any(self.graph.uses[name] for name in node.outputs[len(found) :]):
            raise BadInput(
                f"operator {node.op} of node {str(node)!r} is not one that is written in C, or not in this form;"
                " expected a section of those that the page lists"
            )
        for name, value in zip(node.outputs, found, strict=False):
            keep = self.graph.uses[name] > 1 and not _cheap(value) and not isinstance(value, Several)
            self._values[name] = self._stored(value) if keep else value

    def _made(self, node: Node) -> list[Value] | None:
        """What a node makes, output by output; None, or `BadInput`, where that cannot be written."""
        made = [self.graph.values[name] for name in node.outputs if name]
        if node.op == "SplitToSequence":
            return [Several((), Kind.FLOAT, tuple(self._parts(node, made[0], "axis")))]
        if node.op == "SequenceAt":
            sequence, at = self._value(node.inputs[0]), int(_constant(self._value(node.inputs[1])).array.item())
            return [sequence.each[at]] if isinstance(sequence, Several) else None
        if node.op == "Split":
            return self._parts(node, made, "axis")
        shape, dtype = made[0].shape, str(made[0].dtype)
        if dtype not in _KINDS or (dtype == "float16" and node.op not in _MOVING):
            return None  # half precision is kept and rounded to, and not computed in
        kind = _KINDS[dtype]
        inputs = [self._value(name) for name in node.inputs if name]
        if node.op in _ALIASES or (node.op == "Concat" and len(inputs) == 1):
            return [_reshaped(inputs[0], shape)]
        if node.op == "BatchNormalization":
            scale, shift = normalised(node, shape, [_constant(each) for each in inputs[1:]])
            product = self._computed("{0} * {1}", [inputs[0], scale], shape, kind)
            return [self._computed("{0} + {1}", [product, shift], shape, kind)]
        if node.op in ("Max", "Min") and len(inputs) != 2:
            return self._folded(node, inputs, shape, kind)
        if text := formula(node, inputs):
            return [self._computed(text, inputs, shape, kind)]
        if node.op == "Concat":
            return [self._joined(inputs, int(node.attributes["axis"]), shape, kind)]
        if node.op == "Transpose":
            return [self._transposed(inputs[0], node.numbers("perm", [*range(len(shape))][::-1]), shape)]
        if node.op == "Slice":
            return [self._sliced(node, inputs, shape)]
        return self._layer(node, inputs, shape)

    def _layer(self, node: Node, inputs: list[Value], shape: tuple[int, ...]) -> list[Value] | None:
        graph, first = self.graph, inputs[0]
        if node.op == "Conv":
            _constant(inputs[1])
            layer = convolution(graph, node, self._source(first), first.shape, self.arrays)
            found: Value = Made(shape, Kind.FLOAT, layer)
            if len(inputs) > 2:
                bias = _constant(inputs[2]).array.reshape(-1, *[1] * (len(shape) - 2))
                found = self._computed("{0} + {1}", [found, Constant.of(bias)], shape, Kind.FLOAT)
            return [found]
        if node.op in ("MatMul", "Gemm"):
            return [self._product(node, inputs, shape)]
        if node.op in ("MaxPool", "AveragePool"):
            return [Made(shape, Kind.FLOAT, self._pooled(node, first))]
        if node.op in ("ReduceMean", "ReduceSum", "ReduceMax", "GlobalAveragePool"):
            axes = node.numbers("axes", [*range(2, len(first.shape))])
            if len(inputs) > 1:
                axes = _constant(inputs[1]).array.tolist()
            elif node.op != "GlobalAveragePool" and "axes" not in node.attributes:
                return None
            return [Made(shape, Kind.FLOAT, reduction(node, self._stored(first).buffer, first.shape, axes))]
        return None

    def _product(self, node: Node, inputs: list[Value], shape: tuple[int, ...]) -> Value:
        if node.attributes.get("transA") or min(len(each.shape) for each in inputs[:2]) < 2:
            raise BadInput("")
        sides = [None if isinstance(each, Constant) else self._source(each) for each in inputs[:2]]
        layer = product(self.graph, node, sides[0], sides[1], self.arrays)
        found: Value = Made(shape, Kind.FLOAT, layer)
        factors = [np.array(node.attributes.get(name, 1.0), np.float32) for name in ("alpha", "beta")]
        if factors[0] != 1:
            found = self._computed("{0} * {1}", [found, Constant.of(factors[0])], shape, Kind.FLOAT)
        if len(inputs) > 2:
            added = Constant.of(_constant(inputs[2]).array * factors[1])
            found = self._computed("{0} + {1}", [found, added], shape, Kind.FLOAT)
        return found

    def _pooled(self, node: Node, first: Value) -> Layer:
        """A pool; of a convolution that nothing else takes, row by row, so that few of its rows are in memory."""
        pending = [each for each in leaves(first) if isinstance(each, Made)]
        rows = rows_kept(node, first.shape)
        if len(pending) != 1 or pending[0].layer.template != "conv.c" or rows is None:
            return pool(self.graph, node, self._stored(first).buffer, first.shape)
        inner, kept = pending[0].layer, self._buffer(Kind.FLOAT, math.prod(rows))
        expression = _Expression(self.arrays, {}, "(float)sum" if inner.whole else "sum")
        number = expression.of(first)
        lines = [*expression.lines, f"{kept.name}[y % {rows[0]} * {rows[1]} + x] = {number};"]
        layer = pool(self.graph, node, kept, first.shape)
        layer.what, layer.template = f"{layer.what} of {inner.what}", "pool_of_conv.c"
        layer.values |= {**inner.values, "kept": "\n".join(lines)}
        layer.reads += [*inner.reads, *expression.reads]
        layer.arrays += [*inner.arrays, *expression.arrays]
        layer.macs = inner.macs
        return layer

    def _computed(self, text: str, operands: Sequence[Value], shape: tuple[int, ...], kind: Kind) -> Computed:
        """A formula; what is not as large as its result has to lie in memory, unless it is constant."""
        size = math.prod(shape)
        kept = [each if isinstance(each, Constant) or each.size == size else self._stored(each) for each in operands]
        return Computed(shape, kind, text, tuple(kept))

    def _folded(self, node: Node, inputs: Sequence[Value], shape: tuple[int, ...], kind: Kind) -> list[Value]:
        text, found = str(formula(node, inputs)), inputs[0]
        for each in inputs[1:]:
            joined = np.broadcast_shapes(found.shape, each.shape)
            found = self._computed(text, [found, each], joined, kind)
        return [found]

    def _source(self, value: Value) -> Source:
        """Where a layer reads a value: signs from their bits, all else from memory."""
        signs = value
        while isinstance(signs, Computed) and signs.formula == "{0}":
            (signs,) = signs.operands
        if isinstance(signs, Computed) and signs.formula == "{0} ? {1} : {2}":
            bit, *two = signs.operands
            ends = [float(each.array.flat[0]) if isinstance(each, Constant) and each.uniform else 0.0 for each in two]
            if ends == [1.0, -1.0]:
                buffer = self._stored(bit).buffer
                return buffer, f"{buffer.name}[a]", True
        buffer = self._stored(value).buffer
        return buffer, f"{buffer.name}[a]" if buffer.kind is Kind.FLOAT else f"(float){buffer.name}[a]", False

    def _stored(self, value: Value) -> Stored:
        """The value in memory."""
        if isinstance(value, Stored):
            return value
        buffer = self._buffer(value.kind, value.size)
        self._run(value, buffer, lambda number: f"{buffer.name}[i] = {number};")
        for name, known in self._values.items():  # where it was known by other names, it need not run again
            if known is value:
                self._values[name] = Stored(value.shape, value.kind, buffer)
        return Stored(value.shape, value.kind, buffer)

    def _buffer(self, kind: Kind, size: int) -> Buffer:
        self._buffers += 1
        return Buffer(f"m{self._buffers}", kind, size)

    def _run(self, value: Value, target: Buffer, store: Store) -> None:
        """Write the loop that makes a value."""
        pending = {id(each): each for each in leaves(value) if isinstance(each, Made)}
        ready = {key: self._stored(each) for key, each in [*pending.items()][:-1]}  # one can be made in the same loop
        last = next(reversed(pending.values()), None)
        layer = last.layer if last else Layer("", "map.c", {"size": value.size}, [])
        expression = _Expression(self.arrays, ready, "(float)sum" if layer.whole else "sum")
        number = expression.of(value)
        lines = [*expression.lines, store(number)]
        step = Step(
            what=layer.what or "number by number",
            template=layer.template,
            values={**layer.values, "store": "\n".join(lines)},
            reads=[*layer.reads, *expression.reads],
            writes=target,
            shape=value.shape,
            macs=layer.macs,
            arrays={*layer.arrays, *expression.arrays},
        )
        self.steps.append(step)

    def _copied(
        self, source: Value, target: Buffer, axes: Sequence[tuple[int, int, int]], start: int = 0, first: int = 0
    ) -> None:
        """Copy numbers: of each axis its size, and how far apart its numbers are in the target and the source."""
        buffer = self._stored(source).buffer
        values = {"axes": axes, "start": start, "first": first, "target": target.name, "source": buffer.name}
        self.steps.append(Step("copy", "copy.c", values, [buffer], target, tuple(size for size, _, _ in axes)))

    def _joined(self, inputs: Sequence[Value], axis: int, shape: tuple[int, ...], kind: Kind) -> Value:
        axis, start = axis % len(shape), 0
        inner, outer = math.prod(shape[axis + 1 :]), math.prod(shape[:axis])
        stored = [self._stored(each) for each in inputs]
        target = self._buffer(kind, math.prod(shape))
        for each in stored:
            part = each.shape[axis] * inner
            self._copied(each, target, [(outer, shape[axis] * inner, part), (part, 1, 1)], start)
            start += part
        return Stored(shape, kind, target)

    def _parts(self, node: Node, made: Sequence[Array], key: str) -> list[Value]:
        """Parts of a value along an axis, one behind the other."""
        value = self._value(node.inputs[0])
        axis, at, found = int(node.attributes.get(key, 0)) % len(value.shape), 0, list[Value]()
        for part in made:
            found.append(self._cut(value, axis, at, part.shape))
            at += part.shape[axis]
        return found

    def _cut(self, value: Value, axis: int, at: int, shape: tuple[int, ...]) -> Value:
        if shape == value.shape:
            return value
        inner, outer = math.prod(shape[axis + 1 :]), math.prod(shape[:axis])
        source, part = self._stored(value), shape[axis] * inner
        target = self._buffer(value.kind, math.prod(shape))
        self._copied(source, target, [(outer, part, value.shape[axis] * inner), (part, 1, 1)], first=at * inner)
        return Stored(shape, value.kind, target)

    def _sliced(self, node: Node, inputs: Sequence[Value], shape: tuple[int, ...]) -> Value:
        starts, ends, *more = [_constant(each).array.tolist() for each in inputs[1:]]
        axes = more[0] if more else [*range(len(starts))]
        if len(more) > 1 and set(more[1]) != {1}:
            raise BadInput("")
        found = inputs[0]
        for axis, start, _ in zip(axes, starts, ends, strict=True):
            axis %= len(shape)
            size = found.shape[axis]
            at = max(0, min(size, start + size if start < 0 else start))
            found = self._cut(found, axis, at, (*found.shape[:axis], shape[axis], *found.shape[axis + 1 :]))
        return found

    def _transposed(self, value: Value, order: Sequence[int], shape: tuple[int, ...]) -> Value:
        source, target = self._stored(value), self._buffer(value.kind, value.size)
        steps = [math.prod(value.shape[axis + 1 :]) for axis in range(len(value.shape))]
        axes = [(shape[n], math.prod(shape[n + 1 :]), steps[axis]) for n, axis in enumerate(order)]
        self._copied(source, target, axes)
        return Stored(shape, value.kind, target)


class _Expression:
    """A computed value as C at the place `i`: lines that name its parts, each once."""

    def __init__(self, arrays: Arrays, ready: dict[int, Stored], total: str) -> None:
        self._all, self._ready, self._sum = arrays, ready, total
        self.lines: list[str] = []
        self.reads: list[Buffer] = []
        self.arrays: list[str] = []
        self._known: dict[int, str] = {}

    def of(self, value: Value, shape: tuple[int, ...] | None = None) -> str:
        """C of the number that one of `shape` at `i` takes of a value."""
        shape = value.shape if shape is None else shape
        value = self._ready.get(id(value), value)
        if isinstance(value, Constant):
            if value.uniform:
                return literal(value.array.flat[0], value.kind)
            name = self._all.add(value.array, value.kind.value)
            self.arrays.append(name)
            return f"{name}[{place(value.shape, shape)}]"
        if isinstance(value, Stored):
            self.reads.append(value.buffer)
            where = "i" if value.size == math.prod(shape) else place(value.shape, shape)
            return f"{value.buffer.name}[{where}]"
        if isinstance(value, Made):
            return self._sum
        assert isinstance(value, Computed)
        if id(value) not in self._known:
            self._known[id(value)] = self._named(value)
        return self._known[id(value)]

    def _named(self, value: Computed) -> str:
        text = value.formula.format(*(self.of(each, value.shape) for each in value.operands))
        if value.formula == "{0}":
            return text
        name = f"v{len(self.lines)}"
        self.lines.append(f"const {value.kind.value} {name} = {text};")
        return name


def _cheap(value: Value) -> bool:
    """Whether a value may as well be computed each time."""
    if isinstance(value, Constant | Stored):
        return True
    ready = isinstance(value, Computed) and all(map(_cheap, value.operands))
    return ready and isinstance(value, Computed) and value.formula in ("{0}", "(float){0}", "{0} ? {1} : {2}")


def _reshaped(value: Value, shape: tuple[int, ...]) -> Value:
    """The same numbers in another shape."""
    if isinstance(value, Constant):
        return Constant.of(value.array.reshape(shape))
    if isinstance(value, Stored):
        return Stored(shape, value.kind, value.buffer)
    return Computed(shape, value.kind, "{0}", (value,))


def _constant(value: Value) -> Constant:
    if not isinstance(value, Constant):
        raise BadInput("")
    return value


def write(graph: Graph, view: Buffer, outputs: dict[str, tuple[Buffer, Store]]) -> Steps:
    """The steps that make each output of a graph, kept as told; raise `BadInput` naming an operator that has none."""
    steps = Steps(graph, view)
    for name, (target, store) in outputs.items():
        steps.output(name, target, store)
    return steps
