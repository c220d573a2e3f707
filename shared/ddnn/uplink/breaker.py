"""A circuit breaker: stop asking who does not answer, and ask again soon."""

from collections.abc import Callable
from typing import Literal

__all__ = ["Breaker", "Circuit"]

Circuit = Literal["closed", "open", "half_open"]


class Breaker:
    """Opens after `failures` in a row for `hold_s`, doubling to `cap_s`; then one probe at a time decides.

    Every admitted call ends in one of `succeeded`, `failed` or `released` (cancelled: nothing was learned).
    """

    def __init__(
        self, clock: Callable[[], float], *, failures: int = 5, hold_s: float = 1.0, cap_s: float = 5.0
    ) -> None:
        self._clock = clock
        self._limit = failures
        self._base_s, self._cap_s = hold_s, cap_s
        self._hold_s = hold_s
        self._failures = 0
        self._opened: float | None = None
        self._tickets = 0
        self._probe: int | None = None

    @property
    def circuit(self) -> Circuit:
        """Closed: calls pass. Open: none does. Half open: one probe may."""
        if self._opened is None:
            return "closed"
        return "open" if self._clock() - self._opened < self._hold_s else "half_open"

    def admit(self) -> int | None:
        """A ticket if a call may start now, else None; in half open the ticket makes it the probe."""
        circuit = self.circuit
        if circuit == "open" or self._probe is not None:
            return None
        self._tickets += 1
        if circuit == "half_open":
            self._probe = self._tickets
        return self._tickets

    def succeeded(self) -> None:
        """The other side lives, whoever found out: close."""
        self._failures, self._opened, self._probe, self._hold_s = 0, None, None, self._base_s

    def failed(self, ticket: int) -> None:
        """One more failure in a row, or the probe's; what fails late while open was already known."""
        if self._opened is None:
            self._failures += 1
            if self._failures >= self._limit:
                self._opened = self._clock()
        elif ticket == self._probe:
            self._hold_s = min(2 * self._hold_s, self._cap_s)
            self._opened, self._probe = self._clock(), None

    def released(self, ticket: int) -> None:
        """The call ended without a verdict; if it was the probe, the next one may be."""
        if ticket == self._probe:
            self._probe = None
