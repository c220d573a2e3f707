"""How late the event loop is: the one queue before everything else, which no count of requests shows."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["LoopLag"]

_EVERY_S: Final = 0.1
_LATE_EVERY_S: Final = 0.025  #: while it is late
_WINDOW_S: Final = 0.25
_LOOKS: Final = 3
_FLOOR_S: Final = 0.005  #: a loop that has anything to do is late by so much


class LoopLag:
    """Looks ten times a second, more often while the loop is late.

    The least of the looks of the last 0.3 s tells a queue that stands from a burst (Nichols & Jacobson, CoDel, 2012).
    """

    def __init__(self) -> None:
        self._looks = deque([(0.0, 0.0)] * _LOOKS)  # when, and how late
        self._timer: asyncio.TimerHandle | None = None
        self.standing_s = 0.0  # by how much it was late at each of the last looks
        self.heard: Callable[[float, float], object] = lambda late_s, seconds: None
        """Hears at each look how late the loop was, and how long after the last one."""

    def start(self) -> None:
        self._look_at(asyncio.get_running_loop().time() + _EVERY_S)

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _look_at(self, due: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(due, self._look, due)

    def _look(self, due: float) -> None:
        now = asyncio.get_running_loop().time()
        late, (before, _) = now - due, self._looks[-1]
        self._looks.append((now, late))
        while len(self._looks) > _LOOKS and self._looks[0][0] < now - _WINDOW_S:
            self._looks.popleft()
        least = min(late for _, late in self._looks)
        self.standing_s = least if least > _FLOOR_S else 0.0
        self.heard(late, min(now - before, _EVERY_S + late))
        self._look_at(now + (_LATE_EVERY_S if late > _FLOOR_S else _EVERY_S))
