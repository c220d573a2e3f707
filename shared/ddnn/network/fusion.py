"""Fusion: what several children gave, joined under a presence mask.

Children are stacked on axis 1: x is (B, n, *shape), present (B, n). An absent child is masked out, never taken for
zeros that were seen. An event with no child present gives zeros (max, mean, attention) or all absent tokens (concat).
"""

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from ddnn.network.plan import Shape

__all__ = ["FUSIONS", "Attention", "Concat", "Max", "Mean"]


def _spread(present: Tensor, x: Tensor) -> Tensor:
    """The mask (B, n) with as many axes as x."""
    return present.reshape(-1, present.shape[1], *[1] * (x.dim() - 2))


class Max(nn.Module):
    """The largest value among present children, each component."""

    def __init__(self, children: int, shape: Shape) -> None:
        super().__init__()

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """(B, n, *shape) → (B, *shape)."""
        lowest = torch.finfo(x.dtype).min
        top = torch.where(_spread(present, x), x, lowest).amax(dim=1)
        return torch.where(top > lowest, top, 0.0)


class Mean(nn.Module):
    """The mean of present children, each component."""

    def __init__(self, children: int, shape: Shape) -> None:
        super().__init__()

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """(B, n, *shape) → (B, *shape)."""
        mask = _spread(present, x)
        count = mask.to(x.dtype).sum(dim=1).clamp(min=1.0)
        return torch.where(mask, x, 0.0).sum(dim=1) / count


class Concat(nn.Module):
    """Children side by side on the channel axis; in an absent one's place stands a learned token."""

    def __init__(self, children: int, shape: Shape) -> None:
        super().__init__()
        self.absent = nn.Parameter(torch.zeros(children, *shape))
        self.joined = (children * shape[0], *shape[1:])

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """(B, n, C, …) → (B, n·C, …)."""
        return torch.where(_spread(present, x), x, self.absent).reshape(-1, *self.joined)


class Attention(nn.Module):
    """The weighted mean of present children: each child's weight is learned from what it says itself.

    A logit a child, linear in its own elements; softmax over the present ones (the attention pooling of Ilse et al.
    2018, with weights a child). All logits start at zero: a plain mean.
    """

    def __init__(self, children: int, shape: Shape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(children, math.prod(shape)))
        self.bias = nn.Parameter(torch.zeros(children))

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """(B, n, *shape) → (B, *shape)."""
        seen = torch.where(_spread(present, x), x, 0.0)
        logits = (seen.flatten(2) * self.weight).sum(dim=2) / math.sqrt(self.weight.shape[1]) + self.bias
        share = torch.where(present, logits, torch.finfo(x.dtype).min).softmax(dim=1)
        return (_spread(share, x) * seen).sum(dim=1)


FUSIONS: Final[dict[str, Callable[[int, Shape], nn.Module]]] = {
    "max": Max,
    "mean": Mean,
    "concat": Concat,
    "attention": Attention,
}
"""By name, from (children, shape of one child)."""
