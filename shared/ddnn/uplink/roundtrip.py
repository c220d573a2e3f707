"""How long one address takes to reply, and whether it is worth asking when little time is left."""

from bisect import bisect_left, insort
from collections import deque
from typing import Final

__all__ = ["RoundTrips"]

_KEPT: Final = 32
_QUICK: Final = 0.1
"""A reply is not to be expected in less than this quantile of the last ones took."""
_TRY_AGAIN_S: Final = 0.5


class RoundTrips:
    """The last 32 of one address, in seconds.

    Little time is judged by the quick ones, not by the usual: part of a tier's time is a wait that it cuts to the
    deadline it is given, and a wrong refusal costs a better answer where a wrong try costs a few bytes.
    """

    def __init__(self) -> None:
        self._last: deque[float] = deque()
        self._sorted: list[float] = []
        self._tried = float("-inf")

    def add(self, seconds: float) -> None:
        """A reply took this long."""
        if len(self._last) == _KEPT:
            del self._sorted[bisect_left(self._sorted, self._last.popleft())]
        self._last.append(seconds)
        insort(self._sorted, seconds)

    def quantile(self, share: float) -> float | None:
        """The round trip that `share` of the last ones did not exceed; None before the first."""
        return self._sorted[round(share * (len(self._sorted) - 1))] if self._sorted else None

    @property
    def quick(self) -> float | None:
        """What hardly any reply was faster than."""
        return self.quantile(_QUICK)

    def within(self, left: float, now: float) -> bool:
        """Whether a reply can still come in `left` seconds.

        Where none can, one in half a second is tried all the same: replies that come after all change the estimate.
        """
        quick = self.quick
        if quick is None or left >= quick:
            return True
        if now - self._tried < _TRY_AGAIN_S:
            return False
        self._tried = now
        return True
