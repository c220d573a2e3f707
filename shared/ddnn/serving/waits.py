"""Who is alive, and how long to wait for the others: learned from how children arrive."""

from collections import deque
from collections.abc import Iterable

import numpy as np

__all__ = ["Waits"]

_SEEN = 512
_ENOUGH = 64
_FLOOR = 0.01


class Waits:
    """Over `children` children, of which one is alive if it contributed to one of the last `alive_events` events."""

    def __init__(self, children: int, alive_events: int) -> None:
        self._last = [0] * children
        self._closed = 0
        self._alive_events = alive_events
        self._delays: deque[float] = deque(maxlen=_SEEN)

    @property
    def alive(self) -> list[bool]:
        """Per child; at start all are."""
        return [self._closed - last < self._alive_events for last in self._last]

    def complete(self, here: Iterable[int], *, everyone: bool) -> bool:
        """Whether nobody else is to be waited for."""
        present = set(here)
        return all(child in present or not (everyone or alive) for child, alive in enumerate(self.alive))

    def closed(self, here: Iterable[int]) -> None:
        """An event was closed with these children."""
        self._closed += 1
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

    def wait(self, cap: float) -> float:
        """Seconds to wait: twice the 99th percentile of what was seen, at least 10 ms, at most `cap`."""
        if len(self._delays) < _ENOUGH:
            return cap
        return float(min(cap, max(_FLOOR, 2 * np.quantile(self._delays, 0.99))))
