"""Input normalisation: each channel (or element of a vector) by its own mean and spread over the training events."""

import torch
from torch import Tensor, nn

from ddnn.network.plan import ViewSpec

__all__ = ["Normalise"]


class Normalise(nn.Module):
    """View → (view − mean) / spread, of one device or of all that share their weights."""

    mean: Tensor
    spread: Tensor

    def __init__(self, view: ViewSpec) -> None:
        super().__init__()
        each = (view.shape[0], *[1] * (len(view.shape) - 1))
        self.register_buffer("mean", torch.full(each, 127.5 if view.uint8 else 0.0))
        self.register_buffer("spread", torch.full(each, 127.5 if view.uint8 else 1.0))

    def forward(self, view: Tensor) -> Tensor:
        """(B, *shape), bytes or floats → floats of the same shape."""
        return (view.to(torch.float32) - self.mean) / self.spread
