"""How long requests wait here, beside how long they do while there is little to do."""

from collections.abc import Callable
from time import monotonic
from typing import Final

__all__ = ["Waits"]

_WEIGHT: Final = 1 / 16  #: of the newest in what is usual now
_FIRST: Final = 16  #: answers until it is known what is usual
_FORGETS: Final = 0.01  #: the least that was usual grows by so much a second, while nothing is shed
_RATE_S: Final = 1.0  #: answers a second are those of about so long
_COUNT_S: Final = 0.2  #: those under way, likewise: so devices that see the same events come to the same share
_FROM, _TO = 6.0, 18.0  #: times the least that was usual: a wait from which on events are shed, and at which all are
_LEAST_S: Final = 0.01  #: the least that is usual, at least


class Waits:
    """Of requests from their first byte to their answer.

    What a request that comes now will wait is, by Little's law, those under way over those answered a second: that
    knows of a queue before the first of it is answered. A burst is none: those under way have to have waited, too.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.count = 0  #: under way
        self._usual_s = self._best_s = 0.0
        self._answered, self._rate, self._looked = 0, 0.0, clock()
        self._smooth = 0.0
        self._heard = 0  # answers in all
        self._came = 0.0  # the sum of the moments at which those under way came

    def began(self, at: float) -> None:
        self.count += 1
        self._came += at

    def ended(self, at: float, *, answered: bool) -> None:
        """The request that came `at` is over; one that was refused says nothing of how long others take."""
        self.count -= 1
        self._came = self._came - at if self.count else 0.0
        if answered:
            self._answered += 1
            self._heard += 1
            took = self._clock() - at
            self._usual_s += (_WEIGHT if self._usual_s else 1.0) * (took - self._usual_s)

    def look(self) -> None:
        """Some time has passed."""
        now = self._clock()
        seconds, self._looked = now - self._looked, now
        if seconds > 0:
            self._rate += min(1.0, seconds / _RATE_S) * (self._answered / seconds - self._rate)
        self._answered = 0
        self._smooth += min(1.0, seconds / _COUNT_S) * (self.count - self._smooth)
        if self._heard < _FIRST:
            return
        if not self._best_s or self._usual_s < self._best_s:
            self._best_s = self._usual_s
        elif not self.share:
            self._best_s = min(self._usual_s, self._best_s * (1 + _FORGETS * seconds))

    @property
    def expected_s(self) -> float:
        """What a request that comes now will wait."""
        if not (self._rate and self.count):
            return 0.0
        age = self._clock() - self._came / self.count  # half of what they wait, in the mean
        return min(self._smooth / self._rate, 2 * age)

    @property
    def share(self) -> float:
        """Of the events that is to be shed, 0 to 1."""
        if not self._best_s:
            return 0.0
        times = self.expected_s / max(self._best_s, _LEAST_S)
        return min(max((times - _FROM) / (_TO - _FROM), 0.0), 1.0)
