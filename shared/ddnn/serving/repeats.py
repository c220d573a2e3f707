"""Repeats of answered events, which wait for a moment: another scene may be about to begin under their event id.

A child that sees the same in two scenes says the same of both, under an id that is used again. What it says is a
repeat only if no other child says something else under that id meanwhile.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ddnn.serving.event import Contribution, Reply

__all__ = ["LONGEST_S", "Repeat", "Repeats"]

LONGEST_S: Final = 0.25  #: children that see a scene say so within that, or the straggler timeout


@dataclass(frozen=True, eq=False, slots=True)
class Repeat:
    """One contribution, and the row of the reply that its answer goes to."""

    reply: Reply
    row: int
    id: bytes
    part: Contribution


class Repeats:
    """Those that wait, by event id; their replies bound their number."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, dict[Repeat, asyncio.TimerHandle]] = {}

    def wait(self, repeat: Repeat, seconds: float, then: Callable[[], None]) -> None:
        """Wait `seconds`, at most half of the time that is left, and `then` if no event has begun under that id."""
        loop = asyncio.get_running_loop()
        left = repeat.reply.options.deadline - loop.time()
        timer = loop.call_later(max(0.0, min(seconds, left / 2)), self._over, repeat, then)
        self._waiting.setdefault(repeat.id, {})[repeat] = timer

    def begun(self, id: bytes) -> list[Repeat]:
        """Those of an event that has begun anew, which are of that; a reply whose caller has left is not among them."""
        waiting = self._waiting.pop(id, {})
        for timer in waiting.values():
            timer.cancel()
        return [repeat for repeat in waiting if not repeat.reply.left]

    def close(self) -> None:
        for id in list(self._waiting):
            self.begun(id)

    def _over(self, repeat: Repeat, then: Callable[[], None]) -> None:
        waiting = self._waiting[repeat.id]
        del waiting[repeat]
        if not waiting:
            del self._waiting[repeat.id]
        then()
