"""Answered events, kept for a while for repeats and for who comes late."""

import asyncio
from collections import OrderedDict
from typing import Literal

from ddnn.serving.event import Contribution, Event, State

__all__ = ["Held", "claim"]


def claim(held: Event, part: Contribution, now: float, late_s: float) -> Literal["second", "repeat", "late"] | None:
    """What a contribution is to an event that was answered: what was asked for, a repeat, late; None: of another."""
    said, recent = held.contents.get(part.child), now - held.held_since <= late_s
    if part.second and said is not None:
        return "second"
    if said is None:
        return "late" if held.shared and recent else None
    return "repeat" if said == part.content and recent else None


class Held(OrderedDict[bytes, Event]):
    """By event id, the oldest first."""

    def __init__(self, hold_s: float) -> None:
        super().__init__()
        self._hold_s = hold_s

    def keep(self, id: bytes, event: Event) -> None:
        """Hold an event instead of an earlier one with that id."""
        event.hold()
        if earlier := self.pop(id, None):
            earlier.to(State.GONE)
        self[id] = event

    def forget_old(self) -> None:
        now = asyncio.get_running_loop().time()
        while self and now - next(iter(self.values())).held_since > self._hold_s:
            self._forget_oldest()

    def shrink(self, most: int) -> None:
        """Hold so many at most."""
        while len(self) > max(0, most):
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self.popitem(last=False)[1].to(State.GONE)
