"""Operators that make one number of many: convolutions, products, pools, means."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ddnn.embedded.arrays import Arrays, Weights
from ddnn.embedded.graph import Graph, Node
from ddnn.embedded.values import Buffer, Layer
from ddnn.errors import BadInput

__all__ = ["Source", "convolution", "pool", "product", "reduction", "rows_kept"]

Source = tuple[Buffer, str, bool]
"""Where a layer reads: the buffer, the number at `a` in C, and whether that is the bit of ±1."""
_LOWEST: Final = "-3.402823466e+38f"
_MORE: Final = "sum = one > sum ? one : sum;"


def _plane(shape: tuple[int, ...]) -> list[int]:
    """Channels, rows and columns of [1, C, L] or [1, C, H, W]; a series is one row."""
    return [shape[1], 1, shape[2]] if len(shape) == 3 else list(shape[1:])


def _window(node: Node, kernel: Sequence[int]) -> dict[str, Any]:
    """Where a window over one axis or two lies."""
    axes = len(kernel)
    if axes > 2 or node.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or node.attributes.get("ceil_mode"):
        raise BadInput("")
    found: dict[str, list[int]] = {
        "kernel": list(kernel),
        "strides": node.numbers("strides", [1] * axes),
        "dilations": node.numbers("dilations", [1] * axes),
        "pads": node.numbers("pads", [0] * 2 * axes)[:axes],
    }
    return {name: [0 if name == "pads" else 1] * (2 - axes) + numbers for name, numbers in found.items()}


def _multiplied(weights: Weights, source: Source) -> dict[str, Any]:
    _, number, signs = source
    if signs and weights.kind == "bits1":
        return {"number": "int32_t", "product": weights.agrees(number)}
    return {"number": "float", "product": weights.times(f"({number} ? 1.0f : -1.0f)" if signs else number)}


def convolution(graph: Graph, node: Node, source: Source, taken: tuple[int, ...], arrays: Arrays) -> Layer:
    """Conv, without its bias."""
    shape = graph.values[node.outputs[0]].shape
    kernel = graph.values[node.inputs[1]].shape[2:]
    weights, window = arrays.weights(graph, node.inputs[1], turned=False), _window(node, kernel)
    each = graph.values[node.inputs[1]].shape[1]
    values = {"out": _plane(shape), "taken": _plane(taken), "each": each, "group": node.attributes.get("group", 1)}
    values |= window | _multiplied(weights, source)
    macs = math.prod(shape) * each * math.prod(kernel)
    whole = values["number"] == "int32_t"
    return Layer(f"Conv {weights.kind}", "conv.c", {"conv": values}, [source[0]], whole, macs, [*weights.names])


def product(graph: Graph, node: Node, left: Source | None, right: Source | None, arrays: Arrays) -> Layer:
    """MatMul and Gemm, without what Gemm adds; one side may be constant, and is None then."""
    shapes = [graph.values[name].shape for name in node.inputs[:2]]
    turned = not node.attributes.get("transB", 0)
    inner, rows, columns = shapes[0][-1], shapes[0][-2], shapes[1][-1 if turned else -2]
    batch = math.prod(shapes[0 if left else 1][:-2])
    constant = shapes[1 if left else 0]
    values = {"batch": batch, "rows": rows, "columns": columns, "inner": inner, "number": "float"}
    macs, names, kind = batch * rows * columns * inner, list[str](), "float32"
    a, w = f"(b * {rows} + m) * {inner} + k", f"(b * {inner} + k) * {columns} + o"
    if left and right:
        values |= {"a": a, "w": w, "product": f"sum += {left[1]} * {right[1].replace('[a]', '[w]')};"}
        reads = [left[0], right[0]]
    elif left:
        if math.prod(constant[:-2]) > 1:
            raise BadInput("")
        weights = arrays.weights(graph, node.inputs[1], turned=turned)
        values |= {"a": a, "w": f"o * {inner} + k", **_multiplied(weights, left)}
        reads, names, kind = [left[0]], [*weights.names], weights.kind
    elif right and len(constant) == 2:
        name = arrays.add(graph.values[node.inputs[0]].astype(np.float32), "float")
        values |= {"a": w, "w": f"m * {inner} + k", "product": f"sum += {name}[w] * {right[1]};"}
        reads, names = [right[0]], [name]
    else:
        raise BadInput("")
    return Layer(f"{node.op} {kind}", "matmul.c", values, reads, values["number"] == "int32_t", macs, names)


def rows_kept(node: Node, taken: tuple[int, ...]) -> tuple[int, int] | None:
    """How many rows a pool needs at once of what it takes, and their size; None where they do not lie side by side."""
    window = _window(node, node.numbers("kernel_shape", []))
    return (window["kernel"][0], taken[-1]) if window["dilations"] == [1, 1] else None


def pool(graph: Graph, node: Node, source: Buffer, taken: tuple[int, ...]) -> Layer:
    """MaxPool and AveragePool."""
    values: dict[str, Any] = _window(node, node.numbers("kernel_shape", []))
    values |= {"out": _plane(graph.values[node.outputs[0]].shape), "taken": _plane(taken), "source": source.name}
    if node.op == "MaxPool":
        values |= {"start": _LOWEST, "join": _MORE, "end": "(void)seen;"}
    else:
        whole = math.prod(values["kernel"]) if node.attributes.get("count_include_pad") else "seen"
        values |= {"start": 0, "join": "sum += one;", "end": f"sum /= (float){whole};"}
    return Layer(node.op, "pool.c", values, [source])


def reduction(node: Node, source: Buffer, taken: tuple[int, ...], axes: Sequence[int]) -> Layer:
    """ReduceMean, ReduceSum, ReduceMax and GlobalAveragePool over `axes`."""
    steps = [math.prod(taken[axis + 1 :]) for axis in range(len(taken))]
    gone = [axis for axis in range(len(taken)) if axis in {each % len(taken) for each in axes}]
    kept = [(taken[axis], steps[axis]) for axis in range(len(taken)) if axis not in gone and taken[axis] > 1]
    values: dict[str, Any] = {
        "kept": kept,
        "gone": [(taken[axis], steps[axis]) for axis in gone],
        "source": source.name,
    }
    count = math.prod(taken[axis] for axis in gone)
    largest, mean = node.op == "ReduceMax", node.op in ("ReduceMean", "GlobalAveragePool")
    values |= {
        "source": source.name,
        "start": _LOWEST if largest else 0,
        "join": _MORE if largest else "sum += one;",
        "end": f"sum /= {count}.0f;" if mean else "",
    }
    return Layer(node.op, "reduce.c", values, [source])
