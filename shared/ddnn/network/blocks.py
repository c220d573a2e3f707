"""Blocks: convolution → batch norm → ReLU, the paper's with a pool and a sign, residual; images, series and vectors."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from ddnn.network.config import Kind, NetworkConfig
from ddnn.network.plan import Family, SectionPlan, Shape
from ddnn.network.quantise import BinaryConv1d, BinaryConv2d, BinaryLinear, Sign

__all__ = ["Head", "Residual", "Style", "Tail", "Trunk"]

_BINARY: Final[dict[Family, Callable[..., nn.Module]]] = {
    "dense": BinaryLinear,
    "series": BinaryConv1d,
    "image": BinaryConv2d,
}
_LAYERS: Final[dict[Family, Callable[..., nn.Module]]] = {
    "dense": nn.Linear,
    "series": nn.Conv1d,
    "image": nn.Conv2d,
}
_POOLS: Final[dict[Family, Callable[..., nn.Module]]] = {"series": nn.MaxPool1d, "image": nn.MaxPool2d}
_NORMS: Final[dict[Family, Callable[..., nn.Module]]] = {
    "dense": nn.BatchNorm1d,
    "series": nn.BatchNorm1d,
    "image": nn.BatchNorm2d,
}


@dataclass(frozen=True)
class Style:
    """What all blocks of a network have in common."""

    kind: Kind
    bias: bool
    """Of binary layers; the others have none before a batch norm."""

    @classmethod
    def of(cls, config: NetworkConfig) -> "Style":
        """The style that the configuration asks for."""
        return cls(config.blocks, config.bias)

    @property
    def binary(self) -> bool:
        """Whether weights and inner values are ±1."""
        return self.kind == "binary"

    def activation(self) -> nn.Module:
        """What follows a block."""
        return Sign() if self.binary else nn.ReLU()


def _block(style: Style, family: Family, inputs: int, outputs: int, *, halve: bool, groups: int = 1) -> list[nn.Module]:
    """The layers of one block up to its batch norm; what follows is a sign or a ReLU."""
    norm = _NORMS[family](outputs)
    bias = style.binary and style.bias
    if family == "dense":
        return [(_BINARY if style.binary else _LAYERS)[family](inputs, outputs, bias=bias), norm]
    stride = 2 if halve else 1
    if style.binary:  # the paper pools in every block
        return [
            _BINARY[family](inputs, outputs, 3, padding=1, bias=bias),
            _POOLS[family](3, stride, 1),
            norm,
        ]
    # A stride costs a quarter of a convolution and a pool, and gives as much for as many seconds.
    return [_LAYERS[family](inputs, outputs, 3, stride=stride, padding=1, groups=groups, bias=False), norm]


class Residual(nn.Module):
    """x + norm(layer(relu(norm(layer(x))))), before its activation (He et al. 2015, the basic block).

    A block that halves does so by the stride of its first convolution; where size or filters change, a 1×1 convolution
    takes x along.
    """

    def __init__(self, family: Family, inputs: int, outputs: int, *, halve: bool) -> None:
        super().__init__()
        layer, norm = _LAYERS[family], _NORMS[family]
        size = {} if family == "dense" else {"kernel_size": 3, "padding": 1}
        stride = {"stride": 2} if halve else {}
        self.inner = nn.Sequential(
            layer(inputs, outputs, bias=False, **size, **stride),
            norm(outputs),
            nn.ReLU(),
            layer(outputs, outputs, bias=False, **size),
            norm(outputs),
        )
        point = {} if family == "dense" else {"kernel_size": 1}
        self.past = (
            nn.Sequential(layer(inputs, outputs, bias=False, **point, **stride), norm(outputs))
            if halve or inputs != outputs
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, …) → (B, outputs, …)."""
        return self.inner(x) + self.past(x)  # type: ignore[no-any-return]


class Trunk(nn.Sequential):
    """The blocks of a section, each with its activation; without a tail, the last one ends before it, at the cut."""

    def __init__(self, style: Style, plan: SectionPlan) -> None:
        layers: list[nn.Module] = []
        shape = plan.input
        for index, outputs in enumerate(plan.blocks):
            halve = index < plan.halvings
            if style.kind == "residual":
                layers.append(Residual(plan.family, shape[0], outputs, halve=halve))
            else:
                groups = plan.children if index < plan.apart else 1
                layers += _block(style, plan.family, shape[0], outputs, halve=halve, groups=groups)
            layers.append(style.activation())
            shape = (outputs, *(-(-place // 2) if halve else place for place in shape[1:]))
        if plan.features and plan.tail is None:
            layers.pop()
        super().__init__(*layers)
        self.shape: Shape = shape
        """Of one event's output."""


class Head(nn.Module):
    """From a trunk's output to scores (B, K); of a series its mean over time, as what happened matters, not when."""

    def __init__(self, style: Style, shape: Shape, classes: int) -> None:
        super().__init__()
        self.series = len(shape) == 2
        self.size = shape[0] if self.series else math.prod(shape)
        self.score = (
            nn.Sequential(BinaryLinear(self.size, classes, style.bias), nn.BatchNorm1d(classes))
            if style.binary
            else nn.Linear(self.size, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) → (B, K)."""
        x = x.mean(dim=2) if self.series else x
        return self.score(x.reshape(-1, self.size))  # type: ignore[no-any-return]


class Tail(nn.Module):
    """From a trunk's output to features before their sign, (B, *cut)."""

    def __init__(self, style: Style, plan: SectionPlan, shape: Shape, outputs: int) -> None:
        super().__init__()
        self.input = (math.prod(shape),) if plan.flat else shape
        self.block = nn.Sequential(
            *_block(style, "dense" if plan.flat else plan.family, self.input[0], outputs, halve=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) → (B, *cut)."""
        return self.block(x.reshape(-1, *self.input))  # type: ignore[no-any-return]
