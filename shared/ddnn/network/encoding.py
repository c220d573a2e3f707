"""Piecewise-linear encodings: numbers as places between quantiles, where small networks find the steps that trees do.

Gorishniy et al. 2022, *On Embeddings for Numerical Features in Tabular Deep Learning*.
Legend: B events, F numbers an event, Q bins.
"""

from typing import Final

import torch
from torch import Tensor, nn

__all__ = ["Encode"]

NARROWEST: Final = 0.01
"""Width of a bin, in spreads: a narrower one would make a step of rounding."""


class Encode(nn.Module):
    """Each number as its place in each of Q bins between the quantiles of the training events, −1 before it, 1 past."""

    start: Tensor
    width: Tensor

    def __init__(self, numbers: int, bins: int) -> None:
        super().__init__()
        self.bins = bins
        self.register_buffer("start", torch.linspace(-2, 2, bins + 1)[:-1].repeat(numbers, 1))
        self.register_buffer("width", torch.full((numbers, bins), 4 / bins))

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) → (B, F·Q) in −1..1."""
        places = ((x[:, :, None] - self.start) / self.width).clamp(0, 1)
        return (places * 2 - 1).flatten(1)

    def fit(self, x: Tensor) -> None:
        """Lay the bins between the quantiles of numbers (N, F)."""
        knots = torch.quantile(x, torch.linspace(0, 1, self.bins + 1), dim=0).T
        self.start.copy_(knots[:, :-1])
        self.width.copy_(knots.diff(dim=1).clamp(min=NARROWEST))
