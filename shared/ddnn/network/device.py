"""The device section: view → scores and features."""

import torch
from torch import Tensor, nn

from ddnn.network.blocks import Head, Kind, Tail, Trunk
from ddnn.network.plan import SectionPlan, ViewSpec

__all__ = ["Device"]


class Device(nn.Module):
    """One device's section, with its input normalisation inside."""

    mean: Tensor
    spread: Tensor

    def __init__(self, kind: Kind, view: ViewSpec, plan: SectionPlan, classes: int) -> None:
        super().__init__()
        if plan.cut is None:
            raise AssertionError("a device has a cut")
        self.shape = view.shape
        # Each channel (or element of a vector) by its own mean and spread over the training events.
        each = (view.shape[0], *[1] * (len(view.shape) - 1))
        self.register_buffer("mean", torch.full(each, 127.5 if view.uint8 else 0.0))
        self.register_buffer("spread", torch.full(each, 127.5 if view.uint8 else 1.0))
        self.input = plan.input
        self.trunk = Trunk(kind, plan)
        self.head = Head(kind, self.trunk.shape, classes)
        self.tail = Tail(kind, plan.family, self.trunk.shape, plan.cut)

    def forward(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """View (B, *shape) → scores (B, K), features before their sign (B, *cut)."""
        x = (view.to(torch.float32) - self.mean) / self.spread
        x = self.trunk(x.reshape(-1, *self.input))
        return self.head(x), self.tail(x)
