"""Operators that make one number of one number of each input, as formulas of C; `{0}` is the first input's."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from ddnn.embedded.graph import Node
from ddnn.embedded.values import Constant, Kind, Value, literal

__all__ = ["FORMULAS", "formula", "normalised"]

FORMULAS: Final[dict[str, str]] = {
    "Abs": "fabsf({0})",
    "Add": "{0} + {1}",
    "Ceil": "ceilf({0})",
    "Cos": "cosf({0})",
    "Div": "{0} / {1}",
    "Erf": "erff({0})",
    "Exp": "expf({0})",
    "Floor": "floorf({0})",
    "Log": "logf({0})",
    "Max": "{0} > {1} ? {0} : {1}",
    "Min": "{0} < {1} ? {0} : {1}",
    "Mul": "{0} * {1}",
    "Neg": "-{0}",
    "Pow": "powf({0}, {1})",
    "Reciprocal": "1 / {0}",
    "Relu": "{0} > 0 ? {0} : 0",
    "Round": "rintf({0})",
    "Sigmoid": "1 / (1 + expf(-{0}))",
    "Sign": "(float)(({0} > 0) - ({0} < 0))",
    "Sin": "sinf({0})",
    "Sqrt": "sqrtf({0})",
    "Sub": "{0} - {1}",
    "Tanh": "tanhf({0})",
    "And": "{0} && {1}",
    "Equal": "{0} == {1}",
    "Greater": "{0} > {1}",
    "GreaterOrEqual": "{0} >= {1}",
    "IsNaN": "{0} != {0}",
    "Less": "{0} < {1}",
    "LessOrEqual": "{0} <= {1}",
    "Not": "!{0}",
    "Or": "{0} || {1}",
    "Where": "{0} ? {1} : {2}",
}
"""The names of ONNX; those of the second part give truth, a byte."""
_FLOAT, _HALF, _BOOL = 1, 10, 9
_BYTES: Final = frozenset({2, 9})  #: UINT8 and BOOL


def formula(node: Node, operands: Sequence[Value]) -> str | None:
    """The formula of an operator over its inputs, those that are left out left out; None where it has none."""
    if node.op == "LeakyRelu":
        return f"{{0}} >= 0 ? {{0}} : {literal(node.attributes.get('alpha', 0.01), Kind.FLOAT)} * {{0}}"
    if node.op == "Clip":
        return _clip(node)
    if node.op == "Cast":
        return _cast(int(node.attributes["to"]), operands[0].kind)
    return FORMULAS.get(node.op)


def _clip(node: Node) -> str:
    low, high = (len(node.inputs) > place and bool(node.inputs[place]) for place in (1, 2))
    if low and high:
        return "{0} < {1} ? {1} : {0} > {2} ? {2} : {0}"
    return "{0} < {1} ? {1} : {0}" if low else "{0} > {1} ? {1} : {0}" if high else "{0}"


def _cast(to: int, kind: Kind) -> str | None:
    if to == _FLOAT:
        return "{0}" if kind is Kind.FLOAT else "(float){0}"
    if to == _HALF and kind is Kind.FLOAT:
        return "ddnn_single(ddnn_half({0}))"
    if to == _BOOL:
        return "{0} != 0"
    return ("{0}" if kind is Kind.BYTE else "(uint8_t){0}") if to in _BYTES else None


def normalised(node: Node, shape: tuple[int, ...], arrays: Sequence[Constant]) -> tuple[Constant, Constant]:
    """A batch norm as what each channel is multiplied by and what is then added, computed as ONNX Runtime does."""
    weight, bias, mean, variance = (each.array.astype(np.float32) for each in arrays)
    epsilon = np.float32(node.attributes.get("epsilon", 1e-5))
    scale = weight / np.sqrt(variance + epsilon)
    around = (-1, *[1] * (len(shape) - 2))
    return Constant.of(scale.reshape(around)), Constant.of((bias - mean * scale).reshape(around))
