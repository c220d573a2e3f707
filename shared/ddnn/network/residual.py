"""Residual blocks: two convolutions (or dense layers) whose result is added to what came in."""

from collections.abc import Callable
from typing import Final

from torch import Tensor, nn

from ddnn.network.plan import Family

__all__ = ["Residual"]

_LAYERS: Final[dict[Family, tuple[Callable[..., nn.Module], Callable[..., nn.Module]]]] = {
    "dense": (nn.Linear, nn.BatchNorm1d),
    "series": (nn.Conv1d, nn.BatchNorm1d),
    "image": (nn.Conv2d, nn.BatchNorm2d),
}


class Residual(nn.Module):
    """x + norm(layer(relu(norm(layer(x))))), before its activation (He et al. 2015, the basic block).

    A block that halves does so by the stride of its first convolution; where size or filters change, a 1×1 convolution
    takes x along.
    """

    def __init__(self, family: Family, inputs: int, outputs: int, *, halve: bool) -> None:
        super().__init__()
        layer, norm = _LAYERS[family]
        size = {} if family == "dense" else {"kernel_size": 3, "padding": 1}
        stride = {"stride": 2} if halve else {}
        self.inner = nn.Sequential(
            layer(inputs, outputs, bias=False, **size, **stride),
            norm(outputs),
            nn.ReLU(),
            layer(outputs, outputs, bias=False, **size),
            norm(outputs),
        )
        point = {} if family == "dense" else {"kernel_size": 1}
        self.past = (
            nn.Sequential(layer(inputs, outputs, bias=False, **point, **stride), norm(outputs))
            if halve or inputs != outputs
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, …) → (B, outputs, …)."""
        return self.inner(x) + self.past(x)  # type: ignore[no-any-return]
