"""A circuit breaker: stop asking who does not answer, and ask again soon."""

from collections.abc import Callable
from typing import Literal

__all__ = ["Breaker", "Circuit"]

Circuit = Literal["closed", "open", "half_open"]


class Breaker:
    """Opens after `failures` in a row, or after two that have nothing but failures for `fault_s` between them.

    It stays so for `hold_s`, doubling to `cap_s`; then one probe at a time decides. The second rule is for few calls:
    five would take seconds. Every admitted call ends in one of `succeeded`, `failed` or `released` (cancelled: nothing
    was learned).
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        failures: int = 5,
        fault_s: float = 0.5,
        hold_s: float = 1.0,
        cap_s: float = 2.0,
    ) -> None:
        self._clock = clock
        self._limit, self._fault_s = failures, fault_s
        self._base_s, self._cap_s = hold_s, cap_s
        self._hold_s = hold_s
        self._failures = 0
        self._first_fault: float | None = None
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

    def probes(self, ticket: int) -> bool:
        """Whether the call with this ticket is the probe."""
        return ticket == self._probe

    def succeeded(self) -> None:
        """The other side lives, whoever found out: close."""
        self._failures, self._opened, self._probe, self._hold_s = 0, None, None, self._base_s
        self._first_fault = None

    def failed(self, ticket: int, *, refused: bool = False) -> None:
        """One more failure in a row, or the probe's; what fails late while open was already known.

        Who `refused` lives, so that only the number of refusals counts, not how long they have been going on.
        """
        if self._opened is not None:
            if ticket == self._probe:
                self._reopen()
            return
        now = self._clock()
        self._failures += 1
        lasting = self._first_fault is not None and now - self._first_fault >= self._fault_s
        if self._failures >= self._limit or (lasting and not refused):
            self._opened = now
        elif self._first_fault is None and not refused:
            self._first_fault = now

    def silent(self) -> None:
        """The other side gave no sign of life when it was asked for one: open at once, whatever the count."""
        if self._opened is None:
            self._opened = self._clock()
        elif self._probe is not None:
            self._reopen()

    def released(self, ticket: int) -> None:
        """The call ended without a verdict; if it was the probe, the next one may be."""
        if ticket == self._probe:
            self._probe = None

    def _reopen(self) -> None:
        self._hold_s = min(2 * self._hold_s, self._cap_s)
        self._opened, self._probe = self._clock(), None
