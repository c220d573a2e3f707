"""One bit an element: the sign with a gradient, and layers whose weights are signs (DDNN paper, section III)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BinaryConv1d", "BinaryConv2d", "BinaryLinear", "Sign", "clip_weights", "sign"]


class _Sign(torch.autograd.Function):
    """sign(x) = +1 iff x ≥ 0; the gradient passes straight through where |x| ≤ 1."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
        (x,) = context.saved_tensors  # type: ignore[attr-defined]
        return torch.where(x.abs() <= 1, gradients[0], 0.0)


def sign(x: Tensor) -> Tensor:
    """±1, with the straight-through gradient."""
    return _Sign.apply(x) if torch.is_grad_enabled() else torch.where(x >= 0, 1.0, -1.0)  # type: ignore[no-untyped-call]


class Sign(nn.Module):
    """`sign` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """±1 of the same shape."""
        return sign(x)


class BinaryLinear(nn.Linear):
    """A dense layer that multiplies by the signs of its weights."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) → (B, outputs)."""
        return functional.linear(x, sign(self.weight), self.bias)


class BinaryConv1d(nn.Conv1d):
    """A convolution over a series with the signs of its weights; stride 1."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, L) → (B, outputs, L)."""
        return functional.conv1d(x, sign(self.weight), self.bias, padding=self.padding)


class BinaryConv2d(nn.Conv2d):
    """A convolution over an image with the signs of its weights; stride 1."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H, W)."""
        return functional.conv2d(x, sign(self.weight), self.bias, padding=self.padding)


def clip_weights(network: nn.Module) -> None:
    """Clip the real weights behind binary ones to [−1, 1], where the sign's gradient still passes; after each step."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, BinaryLinear | BinaryConv1d | BinaryConv2d):
                module.weight.clamp_(-1, 1)
