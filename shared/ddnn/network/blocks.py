"""Blocks: convolution → max pool → batch norm → sign or ReLU, over images, series and vectors."""

import math
from typing import Literal

from torch import Tensor, nn

from ddnn.network.plan import Family, SectionPlan, Shape
from ddnn.network.sign import BinaryConv1d, BinaryConv2d, BinaryLinear, Sign

__all__ = ["Head", "Tail", "Trunk"]

Kind = Literal["float", "binary"]


def _block(kind: Kind, family: Family, inputs: int, outputs: int, *, halve: bool) -> list[nn.Module]:
    """The layers of one block up to its batch norm; what follows is a sign or a ReLU."""
    binary = kind == "binary"
    if family == "dense":
        dense = BinaryLinear(inputs, outputs) if binary else nn.Linear(inputs, outputs, bias=False)
        return [dense, nn.BatchNorm1d(outputs)]
    stride = 2 if halve else 1
    # The paper pools in every block; a float block that keeps its size is better off without the blur.
    pools = binary or halve
    if family == "series":
        conv1 = BinaryConv1d(inputs, outputs) if binary else nn.Conv1d(inputs, outputs, 3, padding=1, bias=False)
        return [conv1, *([nn.MaxPool1d(3, stride, 1)] if pools else []), nn.BatchNorm1d(outputs)]
    conv2 = BinaryConv2d(inputs, outputs) if binary else nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [conv2, *([nn.MaxPool2d(3, stride, 1)] if pools else []), nn.BatchNorm2d(outputs)]


class Trunk(nn.Sequential):
    """The blocks of a section, each with its activation."""

    def __init__(self, kind: Kind, plan: SectionPlan) -> None:
        layers: list[nn.Module] = []
        shape = plan.input
        for index, outputs in enumerate(plan.blocks):
            halve = index < plan.halvings
            layers += _block(kind, plan.family, shape[0], outputs, halve=halve)
            layers.append(Sign() if kind == "binary" else nn.ReLU())
            shape = (outputs, *(-(-place // 2) if halve else place for place in shape[1:]))
        super().__init__(*layers)
        self.shape: Shape = shape
        """Of one event's output."""


class Head(nn.Module):
    """From a trunk's output to scores (B, K); of a series its mean over time, as what happened matters, not when."""

    def __init__(self, kind: Kind, shape: Shape, classes: int) -> None:
        super().__init__()
        self.series = len(shape) == 2
        self.size = shape[0] if self.series else math.prod(shape)
        self.score = (
            nn.Sequential(BinaryLinear(self.size, classes), nn.BatchNorm1d(classes))
            if kind == "binary"
            else nn.Linear(self.size, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) → (B, K)."""
        x = x.mean(dim=2) if self.series else x
        return self.score(x.reshape(-1, self.size))  # type: ignore[no-any-return]


class Tail(nn.Module):
    """From a trunk's output to features before their sign, (B, *cut)."""

    def __init__(self, kind: Kind, family: Family, shape: Shape, cut: Shape) -> None:
        super().__init__()
        self.input = shape if len(cut) > 1 else (math.prod(shape),)
        family = family if len(cut) > 1 else "dense"
        self.block = nn.Sequential(*_block(kind, family, self.input[0], cut[0], halve=False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) → (B, *cut)."""
        return self.block(x.reshape(-1, *self.input))  # type: ignore[no-any-return]
