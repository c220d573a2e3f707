"""How late the event loop is: the one queue that stands before everything else, and that no limit bounds by itself.

A tier whose section is fast is overloaded by reading and writing alone, or by whatever else runs on its machine. What
is ready then waits for all that was ready before it, and no count of requests or events shows how long.
"""

import asyncio
from collections import deque
from typing import Final

__all__ = ["LoopLag"]

_EVERY_S: Final = 0.1
_LOOKS: Final = 3
_FLOOR_S: Final = 0.005
"""A loop that has anything to do is late by so much."""


class LoopLag:
    """Looks ten times a second by how much a timer is late; a service starts it with its loop."""

    def __init__(self) -> None:
        self._late = deque([0.0] * _LOOKS, maxlen=_LOOKS)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def standing_s(self) -> float:
        """By how much the loop was late at each of the last looks: what one stall, however long, does not raise.

        The least of a window tells a queue that stands from a burst (Nichols & Jacobson, CoDel, 2012).
        """
        least = min(self._late)
        return least if least > _FLOOR_S else 0.0

    def start(self) -> None:
        """Look from now on, on the running loop."""
        self._look_at(asyncio.get_running_loop().time() + _EVERY_S)

    def stop(self) -> None:
        """Look no more."""
        if self._timer:
            self._timer.cancel()

    def _look_at(self, due: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(due, self._look, due)

    def _look(self, due: float) -> None:
        now = asyncio.get_running_loop().time()
        self._late.append(now - due)
        self._look_at(now + _EVERY_S)
