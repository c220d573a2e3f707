"""Whether an address of the tier above may be asked: its circuit, its round trips, its silence, and the retry budget.

A tier that waits for its other children is silent and in good health: silence is no verdict but a question, whether it
lives, which a tier answers at once. If that hangs too, the circuit opens.
"""

import asyncio
import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from ddnn.uplink.transport import NoReply

__all__ = ["Breaker", "Circuit", "RetryBudget", "RoundTrips", "Target"]

Circuit = Literal["closed", "open", "half_open"]


@dataclass(eq=False)
class Breaker:
    """Opens after `failures` in a row, or after two with nothing else for `fault_s` between them, for few calls.

    It stays so for `hold_s`, doubling to `cap_s`; then one probe at a time decides. Every admitted call ends in one of
    `succeeded`, `failed` or `released` (cancelled: nothing was learned).
    """

    _clock: Callable[[], float]
    failures: int = 5
    fault_s: float = 0.5
    hold_s: float = 1.0
    cap_s: float = 2.0

    def __post_init__(self) -> None:
        self._hold_s, self._failures = self.hold_s, 0
        self._first_fault: float | None = None
        self.opened: float | None = None  # when, unless it is closed
        self._tickets = 0
        self._probe: int | None = None

    @property
    def circuit(self) -> Circuit:
        """Closed: calls pass. Open: none does. Half open: one probe may."""
        if self.opened is None:
            return "closed"
        return "open" if self._clock() - self.opened < self._hold_s else "half_open"

    def admit(self) -> int | None:
        """A ticket if a call may start now, else None; in half open the ticket makes it the probe."""
        if self.opened is not None and (self.circuit == "open" or self._probe is not None):
            return None
        self._tickets += 1
        if self.opened is not None:
            self._probe = self._tickets
        return self._tickets

    def probes(self, ticket: int) -> bool:
        return ticket == self._probe

    def succeeded(self) -> None:
        """The other side lives, whoever found out: close."""
        self._failures, self.opened, self._probe, self._hold_s = 0, None, None, self.hold_s
        self._first_fault = None

    def tried_again(self) -> None:
        """It is ready by its own word: close, and open at the next failure."""
        self.succeeded()
        self._failures = self.failures - 1

    def failed(self, ticket: int, *, refused: bool = False) -> None:
        """One more failure in a row, or the probe's; of those `refused` only the number counts, not how long."""
        if self.opened is not None:
            if ticket == self._probe:
                self._reopen()
            return
        now = self._clock()
        self._failures += 1
        lasting = self._first_fault is not None and now - self._first_fault >= self.fault_s
        if self._failures >= self.failures or (lasting and not refused):
            self.opened = now
        elif self._first_fault is None and not refused:
            self._first_fault = now

    def silent(self) -> None:
        """The other side gave no sign of life when it was asked for one: open at once, whatever the count."""
        if self.opened is None:
            self.opened = self._clock()
        elif self._probe is not None:
            self._reopen()

    def released(self, ticket: int) -> None:
        """The call ended without a verdict; if it was the probe, the next one may be."""
        if ticket == self._probe:
            self._probe = None

    def _reopen(self) -> None:
        self._hold_s = min(2 * self._hold_s, self.cap_s)
        self.opened, self._probe = self._clock(), None


@dataclass(eq=False)
class RetryBudget:
    """A token bucket filled by calls: each adds `share` of a token up to `burst`, each retry takes one."""

    share: float = 0.1
    burst: float = 10.0

    def __post_init__(self) -> None:
        self._tokens = self.burst

    def deposit(self) -> None:
        self._tokens = min(self.burst, self._tokens + self.share)

    def withdraw(self) -> bool:
        """Whether a retry may be made; takes its token."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


_KEPT: Final = 32
_QUICK: Final = 0.1  #: a reply is not to be expected in less than this quantile of the last ones took
_TRY_AGAIN_S: Final = 0.5


class RoundTrips:
    """The last 32 of one address, in seconds; little time is judged by the quick ones: tiers cut their waits to it."""

    def __init__(self) -> None:
        self._last: deque[float] = deque()
        self._sorted: list[float] = []
        self._tried = float("-inf")
        self.quick: float | None = None  # what hardly any reply was faster than; None before the first
        self.usual: float | None = None  # the median

    def add(self, seconds: float) -> None:
        if len(self._last) == _KEPT:
            del self._sorted[bisect_left(self._sorted, self._last.popleft())]
        self._last.append(seconds)
        insort(self._sorted, seconds)
        last = len(self._sorted) - 1
        self.quick, self.usual = self._sorted[round(_QUICK * last)], self._sorted[round(last / 2)]

    def within(self, left: float, now: float) -> bool:
        """Whether a reply can still come in `left` seconds; one in half a second is tried all the same."""
        if self.quick is None or left >= self.quick:
            return True
        if now - self._tried < _TRY_AGAIN_S:
            return False
        self._tried = now
        return True


_LONGEST_S: Final = 1.0  #: however long round trips are, silence for longer is asked about
_SIGN_S, _SIGN_MOST_S = 0.4, 2.0  #: or four times what it lately took, or a quick round trip does
_SECURE_SIGN_S: Final = 0.8  #: the same of https: a kernel takes a connection, but only a busy process shakes hands
_SHAKING_S: Final = 2.0  #: a handshake given up in the middle is work for nothing, and the next try makes more of it


class Target:
    """An address with its circuit, its round trips and the calls that wait for it."""

    def __init__(
        self,
        url: str,
        clock: Callable[[], float],
        *,
        ask: Callable[[str, float], Awaitable[object]],
        silence_s: float | None,
        abandon: bool,
    ) -> None:
        """`ask(url, seconds)` asks for a sign of life, or raises `NoReply`; `abandon`: without one, end the calls."""
        self.url = url
        self._secure = url.startswith("https:")
        self.breaker = Breaker(clock)
        self.trips = RoundTrips()
        self._ask, self._silence_s, self._abandon = ask, silence_s, abandon
        self._calls: dict[int, tuple[float, asyncio.Timeout]] = {}
        self._heard = self._vouched = float("-inf")
        self._took = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = math.inf
        self._asking: asyncio.Task[None] | None = None

    @property
    def connect_s(self) -> float:
        """How long a connection is worth waiting for."""
        return _SHAKING_S if self._secure else self.sign_s

    @property
    def sign_s(self) -> float:
        """How long a sign of life is worth waiting for."""
        least_s = _SECURE_SIGN_S if self._secure else _SIGN_S
        return min(max(least_s, 4 * max(self._took, self.trips.quick or 0.0)), _SIGN_MOST_S)

    @property
    def patience_s(self) -> float:
        """How long it may say nothing before it is asked; infinite where it never is."""
        if self._silence_s is None:
            return math.inf
        return max(self._silence_s, min(2 * (self.trips.usual or 0.0), _LONGEST_S))

    def waits(self, ticket: int, bound: asyncio.Timeout) -> None:
        """A call has been sent, which `bound` can end."""
        now = asyncio.get_running_loop().time()
        self._calls[ticket] = now, bound
        if self._silence_s is None or self._asking:
            return
        if self._timer is None or self._looks_at > now + self.patience_s:
            self._look_after(self.patience_s)

    def heard(self) -> None:
        self._heard = asyncio.get_running_loop().time()

    def waited_for(self, ticket: int) -> bool:
        return ticket in self._calls

    def ended(self, ticket: int) -> None:
        self._calls.pop(ticket, None)

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._asking:
            self._asking.cancel()

    def _look_after(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        # Not `timer.when()`: what uvloop returns for a wait of nothing has none.
        self._looks_at = loop.time() + seconds
        self._timer = loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._calls:
            return
        left = self._due - asyncio.get_running_loop().time()
        if left > 0:
            self._look_after(left)
        else:
            self._asking = asyncio.get_running_loop().create_task(self._ask_for_a_sign())

    @property
    def _due(self) -> float:
        new = next((sent for sent, _ in self._calls.values() if sent > self._vouched), None)
        if new is None:
            return max(self._vouched, self._heard) + _LONGEST_S
        return max(new, self._heard) + self.patience_s

    async def _ask_for_a_sign(self) -> None:
        asked = asyncio.get_running_loop().time()
        try:
            await self._ask(self.url, self.sign_s)
            self.heard()
            self._vouched, self._took = asked, self._heard - asked
        except NoReply:
            self.breaker.silent()
            if self._abandon:
                self._abandon_all()
        finally:
            self._asking = None
        if self._calls and self.breaker.circuit != "open":
            self._look_after(max(0.0, self._due - asyncio.get_running_loop().time()))

    def _abandon_all(self) -> None:
        calls, self._calls = self._calls, {}
        for _, bound in calls.values():
            if not bound.expired():
                bound.reschedule(asyncio.get_running_loop().time())
