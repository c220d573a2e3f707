"""Dense layers that learn with products of bfloat16 numbers, twice as many a second where a processor has them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Dense", "halved", "product"]

LEAST: Final = 64  #: numbers in and out of a layer from which on rounding them costs less than it saves
_here, _lock = threading.local(), threading.Lock()
_inside, _before = 0, ""  #: how many are within `halved`, of all threads; the process' own precision meanwhile


@contextmanager
def halved() -> Iterator[None]:
    """Dense layers round both factors of their products, and the products, to bfloat16; sums within stay single.

    Where a processor has no such products, nothing changes.
    """
    global _inside, _before
    before = getattr(_here, "halved", False)
    _here.halved = torch.cpu._is_avx512_bf16_supported()
    with _lock:  # torch has one precision for all threads: the first sets it, the last gives it back
        if not _inside:
            _before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("medium")  # layers of a user's own, and graphics processors
        _inside += 1
    try:
        yield
    finally:
        _here.halved = before
        with _lock:
            _inside -= 1
            if not _inside:
                torch.set_float32_matmul_precision(_before)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor) -> Tensor:
        x, weight = x.to(torch.bfloat16), weight.to(torch.bfloat16)
        context.save_for_backward(x, weight)
        return functional.linear(x, weight).float()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (x, weight), given = context.saved_tensors, gradients[0].to(torch.bfloat16)
        wish_x, wish_weight = context.needs_input_grad
        return (given @ weight).float() if wish_x else None, (given.t() @ x).float() if wish_weight else None


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (B, inputs), weight (outputs, inputs), bias (outputs,) → x weightᵀ + bias (B, outputs)."""
    if not getattr(_here, "halved", False) or x.dim() != 2 or x.is_cuda or min(weight.shape) < LEAST:
        return functional.linear(x, weight, bias)
    made: Tensor = _Product.apply(x, weight)  # type: ignore[no-untyped-call]
    return made if bias is None else made + bias


class Dense(nn.Linear):
    """A dense layer, (B, inputs) → (B, outputs)."""

    def forward(self, x: Tensor) -> Tensor:
        return product(x, self.weight, self.bias)
