"""What sections are built of: blocks of layers over images, series and vectors, and what joins children.

A fusion joins what several children gave, x (B, n, *shape), under a presence mask (B, n): an absent child is masked
out, never taken for zeros that were seen. An event with no child present gives zeros, or all absent tokens (concat).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from ddnn.network.plan import Family, NetworkConfig, SectionPlan, Shape
from ddnn.network.products import Dense
from ddnn.network.quantise import BinaryConv1d, BinaryConv2d, BinaryLinear, Sign

__all__ = ["FUSIONS", "Attention", "Concat", "Head", "Residual", "Tail", "Trunk"]

Make = Callable[..., nn.Module]


MOST: Final = 4.0
"""How far below its best class a device's scores count at most in a clipped fusion (`ddnn_lab.benchmarks.liar`)."""


class _Layers(NamedTuple):
    layer: Make
    binary: Make
    norm: Make
    pool: Make = nn.Identity


_LAYERS: Final[dict[Family, _Layers]] = {
    "dense": _Layers(Dense, BinaryLinear, nn.BatchNorm1d),
    "series": _Layers(nn.Conv1d, BinaryConv1d, nn.BatchNorm1d, nn.MaxPool1d),
    "image": _Layers(nn.Conv2d, BinaryConv2d, nn.BatchNorm2d, nn.MaxPool2d),
}


def _block(
    config: NetworkConfig, family: Family, inputs: int, outputs: int, *, halve: bool = False, groups: int = 1
) -> list[nn.Module]:
    """The layers of one block up to its batch norm; what follows is a sign or a ReLU."""
    layers, binary = _LAYERS[family], config.blocks == "binary"
    norm, bias, stride = layers.norm(outputs), binary and config.bias, 2 if halve else 1
    if family == "dense":
        return [(layers.binary if binary else layers.layer)(inputs, outputs, bias=bias), norm]
    if binary:  # the paper pools in every block
        return [layers.binary(inputs, outputs, 3, padding=1, bias=bias), layers.pool(3, stride, 1), norm]
    # A stride costs a quarter of a convolution and a pool, and gives as much for as many seconds.
    return [layers.layer(inputs, outputs, 3, stride=stride, padding=1, groups=groups, bias=False), norm]


class Residual(nn.Module):
    """x + norm(layer(relu(norm(layer(x))))), before its activation (He et al. 2015, the basic block).

    A block that halves does so by the stride of its first convolution; where size or filters change, a 1×1 convolution
    takes x along. (B, inputs, …) → (B, outputs, …).
    """

    def __init__(self, family: Family, inputs: int, outputs: int, *, halve: bool) -> None:
        super().__init__()
        layer, norm = _LAYERS[family].layer, _LAYERS[family].norm
        size, point = ({}, {}) if family == "dense" else ({"kernel_size": 3, "padding": 1}, {"kernel_size": 1})
        stride = {"stride": 2} if halve else {}
        self.inner = nn.Sequential(
            layer(inputs, outputs, bias=False, **size, **stride),
            norm(outputs),
            nn.ReLU(),
            layer(outputs, outputs, bias=False, **size),
            norm(outputs),
        )
        self.past: nn.Module = nn.Identity()
        if halve or inputs != outputs:
            self.past = nn.Sequential(layer(inputs, outputs, bias=False, **point, **stride), norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + self.past(x)  # type: ignore[no-any-return]


class Trunk(nn.Sequential):
    """The blocks of a section, each with its activation; without a tail, the last one ends before it, at the cut."""

    def __init__(self, config: NetworkConfig, plan: SectionPlan) -> None:
        layers: list[nn.Module] = []
        shape = plan.input
        for index, outputs in enumerate(plan.blocks):
            halve = index < plan.halvings
            if config.blocks == "residual":
                layers.append(Residual(plan.family, shape[0], outputs, halve=halve))
            else:
                groups = plan.children if index < plan.apart else 1
                layers += _block(config, plan.family, shape[0], outputs, halve=halve, groups=groups)
            layers.append(Sign() if config.blocks == "binary" else nn.ReLU())
            shape = (outputs, *(-(-place // 2) if halve else place for place in shape[1:]))
        super().__init__(*layers[: -1 if plan.features and plan.tail is None else None])
        self.shape: Shape = shape
        """Of one event's output."""


class Head(nn.Module):
    """From a trunk's output (B, *shape) to scores (B, K); of a series the means of its parts, one or a few."""

    def __init__(self, config: NetworkConfig, shape: Shape, classes: int, parts: int = 1) -> None:
        super().__init__()
        self.parts = min(parts, shape[1]) if len(shape) == 2 else 0
        self.size = shape[0] * self.parts if self.parts else math.prod(shape)
        self.score = (
            nn.Sequential(BinaryLinear(self.size, classes, config.bias), nn.BatchNorm1d(classes))
            if config.blocks == "binary"
            else Dense(self.size, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.pooled(x).reshape(-1, self.size))  # type: ignore[no-any-return]

    def pooled(self, x: Tensor) -> Tensor:
        """Of a series (B, C, L) the means of its parts (B, C, parts); all else as it is."""
        if not self.parts:
            return x
        return torch.stack([part.mean(dim=2) for part in x.tensor_split(self.parts, dim=2)], dim=2)


class Tail(nn.Module):
    """From a trunk's output (B, *shape) to features before they are quantised, (B, *cut)."""

    def __init__(self, config: NetworkConfig, plan: SectionPlan, shape: Shape, outputs: int) -> None:
        super().__init__()
        self.input = (math.prod(shape),) if plan.flat else shape
        self.block = nn.Sequential(*_block(config, "dense" if plan.flat else plan.family, self.input[0], outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x.reshape(-1, *self.input))  # type: ignore[no-any-return]


def _spread(present: Tensor, x: Tensor) -> Tensor:
    """The mask (B, n) with as many axes as x."""
    return present.reshape(-1, present.shape[1], *[1] * (x.dim() - 2))


class Max(nn.Module):
    """The largest value among present children, each component; (B, n, *shape) → (B, *shape)."""

    def __init__(self, children: int, shape: Shape, lengths: Sequence[int] = ()) -> None:
        super().__init__()

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        lowest = torch.finfo(x.dtype).min
        top = torch.where(_spread(present, x), x, lowest).amax(dim=1)
        return torch.where(top > lowest, top, 0.0)


class Mean(Max):
    """The mean of present children, each component; (B, n, *shape) → (B, *shape)."""

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        mask = _spread(present, x)
        count = mask.to(x.dtype).sum(dim=1).clamp(min=1.0)
        return torch.where(mask, x, 0.0).sum(dim=1) / count


class Clipped(Mean):
    """The sum of present children, none of which says more than `MOST` for or against anything; for scores.

    Each child's values are taken from its largest, down to `MOST` below that: one that lies cannot outweigh the others.
    """

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        bounded = (x - x.amax(dim=-1, keepdim=True)).clamp(min=-MOST)
        return torch.where(_spread(present, x), bounded, 0.0).sum(dim=1)


class Concat(nn.Module):
    """Children side by side on the channel axis, a learned token for an absent one; (B, n, C, …) → (B, n·C, …).

    Of children that give fewer numbers than others, `lengths` of each, only those: (B, n, C) → (B, Σ lengths).
    """

    given: Tensor | None

    def __init__(self, children: int, shape: Shape, lengths: Sequence[int] = ()) -> None:
        super().__init__()
        self.absent = nn.Parameter(torch.zeros(children, *shape))
        self.joined = (children * shape[0], *shape[1:])
        places = torch.arange(children * shape[0]).reshape(children, -1)
        given = [row[:length] for row, length in zip(places, lengths, strict=True)] if lengths else []
        self.register_buffer("given", torch.cat(given) if given else None, persistent=False)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        if self.training:
            filled: Tensor = _Filled.apply(x, self.absent, present)  # type: ignore[no-untyped-call]
        else:
            filled = torch.where(_spread(present, x), x, self.absent)
        seen = filled.reshape(-1, *self.joined)
        return seen if self.given is None else seen[:, self.given]


class _Filled(torch.autograd.Function):
    """x (B, n, *shape) with `absent` (n, *shape) where not present (B, n): a choice in a third of its time."""

    @staticmethod
    def forward(context: Any, x: Tensor, absent: Tensor, present: Tensor) -> Tensor:
        missing = torch.nonzero(~present, as_tuple=True)
        context.save_for_backward(*missing)
        return x.index_put(missing, absent[missing[1]])

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (events, children), given = context.saved_tensors, gradients[0]
        absent = given.new_zeros(given.shape[1:]).index_add_(0, children, given[events, children])
        return given.index_put((events, children), given.new_zeros(())), absent, None


class Attention(nn.Module):
    """The weighted mean of present children, (B, n, *shape) → (B, *shape), each weight learned from what a child says.

    A logit a child, linear in its own elements; softmax over the present ones (the attention pooling of Ilse et al.
    2018, with weights a child). All logits start at zero: a plain mean.
    """

    def __init__(self, children: int, shape: Shape, lengths: Sequence[int] = ()) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(children, math.prod(shape)))
        self.bias = nn.Parameter(torch.zeros(children))

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        seen = torch.where(_spread(present, x), x, 0.0)
        logits = (seen.flatten(2) * self.weight).sum(dim=2) / math.sqrt(self.weight.shape[1]) + self.bias
        share = torch.where(present, logits, torch.finfo(x.dtype).min).softmax(dim=1)
        return (_spread(share, x) * seen).sum(dim=1)


FUSIONS: Final[dict[str, Make]] = {
    "max": Max,
    "mean": Mean,
    "clipped": Clipped,
    "concat": Concat,
    "attention": Attention,
}
"""By name, from (children, shape of one child), and the lengths of those that give fewer."""
