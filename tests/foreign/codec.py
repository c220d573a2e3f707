"""A codec of a user's own: three levels, five of them in a byte."""

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from ddnn.codec import Codec
from ddnn.types import Array

if TYPE_CHECKING:
    from ddnn.network.quantise import Quantiser

__all__ = ["Trits"]

_EACH: Final = 5
_WEIGHTS: Final = 3 ** np.arange(_EACH, dtype=np.uint8)


class Trits(Codec):
    """Levels 0, 1, 2, as digits of numbers to the base of 3, five to a byte."""

    datatype = "UINT8"

    def wire_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(⌈n / 5⌉,)"""
        return (-(-math.prod(shape) // _EACH),)

    def pack(self, values: Array) -> Array:
        """(…, n) of 0, 1, 2 → (…, ⌈n / 5⌉)."""
        size = -(-values.shape[-1] // _EACH)
        digits = np.zeros((*values.shape[:-1], size * _EACH), np.uint8)
        digits[..., : values.shape[-1]] = values
        return np.asarray((digits.reshape(*values.shape[:-1], size, _EACH) * _WEIGHTS).sum(axis=-1, dtype=np.uint8))

    def unpack(self, rows: Array, shape: tuple[int, ...]) -> Array:
        """(…, ⌈n / 5⌉) → (…, n)."""
        digits = rows[..., np.newaxis] // _WEIGHTS % 3
        return np.asarray(digits.reshape(*rows.shape[:-1], rows.shape[-1] * _EACH)[..., : math.prod(shape)])

    def twin(self, shape: tuple[int, ...]) -> "Quantiser":
        """−1 below −½, 1 from ½ on, 0 between."""
        from torch import Tensor, float32, uint8

        from ddnn.network.quantise import Quantiser

        class Ternary(Quantiser):
            def encode(self, x: Tensor) -> Tensor:
                return (x >= -0.5).to(uint8) + (x >= 0.5).to(uint8)

            def decode(self, values: Tensor) -> Tensor:
                return values.to(float32) - 1

            def near(self, x: Tensor, margin: float) -> Tensor:
                return (x.abs() - 0.5).abs() < margin

        return Ternary()
