"""Fewer bits with a gradient: the torch twins of codecs, and layers whose weights are signs (DDNN paper, III)."""

from abc import abstractmethod
from copy import copy
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddnn.codec import Bitwise, Codec, Plain
from ddnn.errors import BadConfig
from ddnn.network.products import product

__all__ = [
    "BinaryConv1d",
    "BinaryConv2d",
    "BinaryLinear",
    "Quantiser",
    "Sign",
    "clip_weights",
    "quantiser",
    "sign",
    "signed_weights",
]

Range = Literal["tensor", "channel"]
Shape = tuple[int, ...]

_GAUSSIAN: Final = {2: 1.991, 4: 2.681, 8: 3.942}
"""Range of the uniform quantiser of n bits with the least error on a unit Gaussian (Max 1960), as batch norms give."""

_PAST_ONE: Final = 1 + 2**-23  #: next single above 1: at ±1 itself, where weights are clipped to, gradients pass


class _Sign(torch.autograd.Function):
    """sign(x) = +1 iff x ≥ 0; the gradient passes straight through where |x| ≤ 1."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        return _signs(x)

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
        (x,) = context.saved_tensors  # type: ignore[attr-defined]
        passed: Tensor = torch.ops.aten.hardtanh_backward(gradients[0], x, -_PAST_ONE, _PAST_ONE)
        return passed


def sign(x: Tensor) -> Tensor:
    """±1, with the straight-through gradient."""
    return _Sign.apply(x) if torch.is_grad_enabled() else torch.where(x >= 0, 1.0, -1.0)  # type: ignore[no-untyped-call]


def _signs(x: Tensor) -> Tensor:
    """±1 of numbers, in a quarter of the time of a choice between two."""
    return (x >= 0).to(x.dtype).mul_(2).sub_(1)


class Quantiser(nn.Module):
    """The torch twin of a codec, at a cut: what sections on both sides of it have in their graphs; (…, *shape)."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Values at the cut → what the section's file gives and the codec packs."""

    @abstractmethod
    def decode(self, values: Tensor) -> Tensor:
        """What the codec unpacked → what the section above takes."""

    def forward(self, x: Tensor) -> Tensor:
        """Values at the cut as they arrive above it; the gradient passes straight through."""
        return x + (self.decode(self.encode(x)) - x).detach()

    def near(self, x: Tensor, margin: float) -> Tensor:
        """Where a value is so close to the next level that rounding may turn it."""
        return torch.zeros_like(x, dtype=torch.bool)

    def first(self, count: int) -> "Quantiser":
        """The same for a section that gives the first `count` of the values alone."""
        return self


class Sign(Quantiser):
    """One bit, 1 for +1 and 0 for −1. Also the activation of binary blocks."""

    def forward(self, x: Tensor) -> Tensor:
        return sign(x)

    def encode(self, x: Tensor) -> Tensor:
        return (x >= 0).to(torch.uint8)

    def decode(self, values: Tensor) -> Tensor:
        return values.to(torch.float32) * 2 - 1

    def near(self, x: Tensor, margin: float) -> Tensor:
        return x.abs() < margin


class Levels(Quantiser):
    """2^n levels, evenly over a learned range [−r, r]; each value is the middle of its level.

    The gradient of x passes straight through within the range, that of r is the quantiser's (Esser et al. 2020).
    """

    def __init__(self, bits: int, shape: Shape, per: Range) -> None:
        super().__init__()
        self.count, self._start = 1 << bits, _GAUSSIAN[bits]
        self.log_range = nn.Parameter(torch.zeros((shape[0], *[1] * (len(shape) - 1)) if per == "channel" else ()))
        """Of r over its start: what decays goes back there."""

    @property
    def range(self) -> Tensor:
        """r, of all values or of each channel."""
        return self.log_range.exp() * self._start

    def forward(self, x: Tensor) -> Tensor:
        inside = (x / self.range).clamp(-1, 1)
        return (inside + (self._middle(self._level(inside)) - inside).detach()) * self.range

    def encode(self, x: Tensor) -> Tensor:
        return self._level((x / self.range).clamp(-1, 1)).to(torch.uint8)

    def decode(self, values: Tensor) -> Tensor:
        return self._middle(values.to(torch.float32)) * self.range

    def near(self, x: Tensor, margin: float) -> Tensor:
        place = (x / self.range + 1) * (self.count / 2)
        border = place.round().clamp(1, self.count - 1)
        return (place - border).abs() * (2 / self.count) * self.range < margin

    def first(self, count: int) -> Quantiser:
        fewer = copy(self)
        if self.log_range.dim() == 1:
            fewer._parameters = {"log_range": nn.Parameter(self.log_range.detach()[:count])}
        return fewer

    def _level(self, inside: Tensor) -> Tensor:
        return ((inside + 1) * (self.count / 2)).floor().clamp(max=self.count - 1)

    def _middle(self, level: Tensor) -> Tensor:
        return (level + 0.5) * (2 / self.count) - 1


class Float(Quantiser):
    """Single precision in the files, rounded to half where that is what goes up."""

    def __init__(self, *, half: bool) -> None:
        super().__init__()
        self.half_precision = half

    def encode(self, x: Tensor) -> Tensor:
        largest = torch.finfo(torch.float16).max
        return x.clamp(-largest, largest).half().float() if self.half_precision else x

    def decode(self, values: Tensor) -> Tensor:
        return values


def quantiser(codec: Codec, shape: Shape, per: Range = "channel") -> Quantiser:
    """The twin of a codec of features, a user's own by its method `twin(shape)`; raise `BadConfig` without one."""
    if isinstance(codec, Bitwise):
        return Sign() if codec.bits == 1 else Levels(codec.bits, shape, per)
    if isinstance(codec, Plain) and codec.name != "view":
        return Float(half=codec.datatype == "FP16")
    twin = getattr(codec, "twin", None)
    if callable(twin) and isinstance(made := twin(shape), Quantiser):
        return made
    expected = "a codec of features, with a method twin(shape) that gives a ddnn.network.quantise.Quantiser"
    raise BadConfig(f"cut_codec is {codec.name!r}, which has no twin in torch; expected {expected}")


class BinaryLinear(nn.Linear):
    """A dense layer that multiplies by the signs of its weights, (B, inputs) → (B, outputs)."""

    def forward(self, x: Tensor) -> Tensor:
        return product(x, sign(self.weight), self.bias)


class BinaryConv1d(nn.Conv1d):
    """A convolution over a series with the signs of its weights, (B, inputs, L) → (B, outputs, L)."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv1d(x, sign(self.weight), self.bias, padding=self.padding)


class BinaryConv2d(nn.Conv2d):
    """A convolution over an image with the signs of its weights, (B, inputs, H, W) → (B, outputs, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, sign(self.weight), self.bias, padding=self.padding)


def signed_weights(network: nn.Module) -> list[Tensor]:
    """The real weights behind binary ones."""
    kinds = BinaryLinear, BinaryConv1d, BinaryConv2d
    return [module.weight for module in network.modules() if isinstance(module, kinds)]


def clip_weights(weights: list[Tensor]) -> None:
    """Clip the real weights behind binary ones to [−1, 1], where the sign's gradient still passes; after each step."""
    with torch.no_grad():
        for weight in weights:
            weight.clamp_(-1, 1)
