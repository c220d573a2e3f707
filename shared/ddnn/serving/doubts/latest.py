"""The latest views of a device, held in memory until the tier above says which to keep: bounded in bytes and time."""

import time
from typing import Final

from ddnn.types import Array

__all__ = ["LatestViews"]

_OVERHEAD: Final = 400  #: bytes of one beside the view's own
_HELD_S: Final = 30.0  #: an answer, an audit of it and two polls take less


class LatestViews:
    """Views by event id, as it goes up; the oldest go first."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes = most_bytes, 0
        self._views: dict[bytes, tuple[float, Array]] = {}

    def __len__(self) -> int:
        return len(self._views)

    def hold(self, id: bytes, view: Array) -> None:
        """Hold a copy: the view itself may be a row of a whole request."""
        self.take(id)
        if view.nbytes + _OVERHEAD > self._most:
            return
        self._views[id] = time.monotonic(), view.copy()
        self._bytes += view.nbytes + _OVERHEAD
        while self._bytes > self._most:
            self.take(next(iter(self._views)))

    def take(self, id: bytes) -> Array | None:
        """Give a view away, if it is here."""
        held = self._views.pop(id, None)
        if held is None:
            return None
        self._bytes -= held[1].nbytes + _OVERHEAD
        return held[1]

    def forget_old(self) -> None:
        """Let go what nothing will ask for any more."""
        until = time.monotonic() - _HELD_S
        while self._views and next(iter(self._views.values()))[0] < until:
            self.take(next(iter(self._views)))

    def clear(self) -> None:
        """Let go of all."""
        self._views.clear()
        self._bytes = 0
