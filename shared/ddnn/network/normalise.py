"""What a section sees of a view: each channel (or element of a vector) by its own mean and spread in training."""

import math

import torch
from torch import Tensor, nn

from ddnn.network.plan import ViewSpec

__all__ = ["Normalise", "magnitudes"]


class Normalise(nn.Module):
    """View → (view − mean) / spread, of one device or of all that share their weights; a series with its spectrum."""

    mean: Tensor
    spread: Tensor

    def __init__(self, view: ViewSpec, spectrum: bool = False) -> None:
        super().__init__()
        each = (view.shape[0], *[1] * (len(view.shape) - 1))
        self.register_buffer("mean", torch.full(each, 127.5 if view.uint8 else 0.0))
        self.register_buffer("spread", torch.full(each, 127.5 if view.uint8 else 1.0))
        self.spectrum = spectrum and len(view.shape) == 2

    def forward(self, view: Tensor) -> Tensor:
        """(B, *shape), bytes or floats → floats of the same shape, or (B, C, L + L // 2) with the spectrum."""
        x = (view.to(torch.float32) - self.mean) / self.spread
        return torch.cat([x, magnitudes(x)], dim=2) if self.spectrum else x


def magnitudes(x: Tensor) -> Tensor:
    """ln(1 + |DFT| / √L) of series (B, C, L) around their means, at the frequencies 1 … L // 2.

    As products with cosines and sines: they export to any ONNX runtime, and L is small.
    """
    length = x.shape[2]
    turns = torch.outer(torch.arange(length), torch.arange(1, length // 2 + 1)) * (2 * math.pi / length)
    around = x - x.mean(dim=2, keepdim=True)
    power = (around @ turns.cos().to(x)).square() + (around @ turns.sin().to(x)).square()
    return torch.log1p(((power + 1e-6) / length).sqrt())  # a root has no slope at zero
