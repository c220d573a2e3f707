"""Which children of a tier are waited for, and how long: learned from what each of them did itself."""

import math
from collections import deque
from collections.abc import Collection
from typing import Final

import numpy as np

__all__ = ["Stragglers"]

_SEEN: Final = 512
_ENOUGH: Final = 64
_FLOOR_S: Final = 0.01
_NEWS: Final = 32  #: what was seen is looked through again once one in so many is new


class Stragglers:
    """How long to wait for late children; dead is which was silent through `alive_events` events with several.

    Of events that overlap in time one counts: a burst that a child is late for says no more of it than one event.
    """

    def __init__(self, children: int, alive_events: int) -> None:
        self._missed, self._alive_events = [0] * children, alive_events
        self._since = [-math.inf] * children  # when it was last heard, or missed
        self._delays: deque[float] = deque(maxlen=_SEEN)
        self._new, self._usual_s = 0, 0.0  # delays since the 99th percentile was found, and that

    @property
    def alive(self) -> list[bool]:
        """Per child; at start all are."""
        return [missed < self._alive_events for missed in self._missed]

    def complete(self, here: Collection[int]) -> bool:
        """Whether no other living child is to be waited for."""
        return all(child in here or not alive for child, alive in enumerate(self.alive))

    def witnessed(self, here: Collection[int]) -> bool:
        """Whether an event of these children says anything to, or of, the others: one alone may make up any number."""
        return len(here) > 1 or len(self._missed) <= 2

    def closed(self, here: Collection[int], opened: float, now: float) -> None:
        """An event that was opened then was closed with these children."""
        if not self.witnessed(here):
            return
        for child, since in enumerate(self._since):
            if child not in here and opened >= since:
                self._missed[child] += 1
                self._since[child] = now

    def arrived(self, child: int, delay: float, now: float) -> None:
        """A contribution came `delay` seconds after its event's first, in time or not; its child lives."""
        self._missed[child], self._since[child] = 0, now
        if delay > 0:
            self._delays.append(delay)
            self._new += 1

    def timeout(self, cap: float) -> float:
        """Seconds to wait: twice the 99th percentile of what was seen, at least 10 ms, at most `cap`."""
        if len(self._delays) < _ENOUGH:
            return cap
        if not self._usual_s or self._new * _NEWS >= len(self._delays):  # each time it would cost more than a section
            self._new, self._usual_s = 0, float(np.quantile(self._delays, 0.99))
        return min(cap, max(_FLOOR_S, 2 * self._usual_s))
