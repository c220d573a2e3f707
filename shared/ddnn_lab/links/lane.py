"""One direction of a link: when what is sent now has left, and when it arrives."""

from random import Random
from typing import Final

from ddnn.links import Shape

__all__ = ["Lane"]

_SMALLEST, _LARGEST = 1460, 16384
_TURN_S: Final = 0.005
"""One connection sends for about so long before it is another's turn."""


class Lane:
    """A pipe that sends one bit after the other; all times are seconds of one clock."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self.shape = shape
        self._chance = Random(seed)
        self._free = 0.0
        self.passed = 0
        """Bytes delivered."""

    @property
    def chunk(self) -> int:
        """Most bytes to send at once, so that connections share the lane fairly."""
        return int(min(_LARGEST, max(_SMALLEST, self.shape.bits_per_s / 8 * _TURN_S)))

    def send(self, size: int, now: float, *, after: float = 0.0) -> tuple[float, float]:
        """When the last of `size` bytes has left, and when it is there: never before `after`, so that order is kept."""
        self._free = max(now, self._free) + 8 * size / self.shape.bits_per_s
        jitter = self._chance.expovariate(2 / self.shape.jitter_s) if self.shape.jitter_s else 0.0
        return self._free, max(after, self._free + self.shape.round_trip_s / 2 + jitter)
