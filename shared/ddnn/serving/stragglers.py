"""Which children of a tier are waited for, and how long: learned from what each of them did itself."""

from collections import deque
from collections.abc import Collection
from typing import Final

import numpy as np

__all__ = ["Stragglers"]

_SEEN: Final = 512
_ENOUGH: Final = 64
_FLOOR_S: Final = 0.01


class Stragglers:
    """How long to wait for late children; alive is which took part in one of the last `alive_events` with several."""

    def __init__(self, children: int, alive_events: int) -> None:
        self._last, self._closed, self._alive_events = [0] * children, 0, alive_events
        self._delays: deque[float] = deque(maxlen=_SEEN)

    @property
    def alive(self) -> list[bool]:
        """Per child; at start all are."""
        return [self._closed - last < self._alive_events for last in self._last]

    def complete(self, here: Collection[int]) -> bool:
        """Whether no other living child is to be waited for."""
        return all(child in here or not alive for child, alive in enumerate(self.alive))

    def witnessed(self, here: Collection[int]) -> bool:
        """Whether an event of these children says anything to, or of, the others: one alone may make up any number."""
        return len(here) > 1 or len(self._last) <= 2

    def closed(self, here: Collection[int]) -> None:
        """An event was closed with these children."""
        self._closed += self.witnessed(here)
        for child in here:
            self._last[child] = self._closed

    def arrived(self, delay: float) -> None:
        """A contribution came `delay` seconds after its event's first."""
        if delay > 0:
            self._delays.append(delay)

    def late(self, child: int, delay: float) -> None:
        """A contribution came after its event was closed; its child lives."""
        self._last[child] = self._closed
        self._delays.append(delay)

    def timeout(self, cap: float) -> float:
        """Seconds to wait: twice the 99th percentile of what was seen, at least 10 ms, at most `cap`."""
        if len(self._delays) < _ENOUGH:
            return cap
        return float(min(cap, max(_FLOOR_S, 2 * np.quantile(self._delays, 0.99))))
