"""What a section costs: multiplications of one event, counted in its graph."""

import math
from pathlib import Path
from typing import Final

import onnx

__all__ = ["macs"]

_WEIGHTED: Final = {"Conv": 1, "Gemm": 1, "MatMul": 1}
"""Which input holds the weights."""


def macs(model: Path) -> int:
    """Multiplications with weights, one event, in convolutions and dense layers."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(model)).graph
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    shapes = {
        value.name: [place.dim_value for place in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    total = 0
    for node in graph.node:
        weight = weights.get(node.input[_WEIGHTED[node.op_type]]) if node.op_type in _WEIGHTED else None
        if weight is not None:
            places = math.prod(shapes[node.output[0]][2:]) if node.op_type == "Conv" else 1
            total += places * math.prod(weight)
    return total
