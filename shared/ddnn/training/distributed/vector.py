"""Many tensors as one vector: what is sent in one message."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Vector"]


class Vector:
    """Tensors of single precision, read as one vector (m,) and written from one, in their order."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)
        self.sizes = [tensor.numel() for tensor in self.tensors]
        self.count = sum(self.sizes)
        """m."""

    @torch.no_grad()
    def read(self) -> Tensor:
        """A copy of them all, (m,), on the CPU."""
        if not self.tensors:
            return torch.zeros(0)
        return torch.cat([tensor.detach().flatten() for tensor in self.tensors]).to("cpu", torch.float32)

    @torch.no_grad()
    def write(self, vector: Tensor) -> None:
        """Give each its part of `vector` (m,)."""
        for tensor, part in zip(self.tensors, torch.split(vector, self.sizes), strict=True):
            tensor.detach().copy_(part.reshape(tensor.shape))
