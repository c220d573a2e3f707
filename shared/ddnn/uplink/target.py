"""One address of the tier above: whether it may be asked, and whether it is alive when it says nothing.

A call that hangs is a failure only when its deadline is over, which may be long after the fault; and a tier that waits
for its other children is silent and in good health. So silence is no verdict but a question: after `silence_s` without
any reply, or two usual round trips, the address is asked whether it lives, which a tier answers at once whatever it is
doing. If that hangs too, the circuit opens. A sign of life is believed for a second for the calls that waited for it.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final

from ddnn.uplink.breaker import Breaker
from ddnn.uplink.failure import NoReply
from ddnn.uplink.roundtrip import RoundTrips

__all__ = ["Target"]

_LONGEST_S: Final = 1.0
"""However long round trips are, silence for longer is asked about."""
_SIGN_S, _SIGN_MOST_S = 0.4, 2.0
"""A sign of life is waited for this long, or four times what it lately took, or a quick round trip does."""


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
        """`ask(url, seconds)` asks for a sign of life, and raises `NoReply`; `silence_s` None = never asked for.

        `abandon`: end the calls of who gives none, as there are others to ask.
        """
        self.url = url
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
    def sign_s(self) -> float:
        """How long a connection, or a sign of life, is worth waiting for."""
        return min(max(_SIGN_S, 4 * max(self._took, self.trips.quick or 0.0)), _SIGN_MOST_S)

    @property
    def patience_s(self) -> float:
        """How long it may say nothing before it is asked; infinite where it never is."""
        if self._silence_s is None:
            return math.inf
        return max(self._silence_s, min(2 * (self.trips.quantile(0.5) or 0.0), _LONGEST_S))

    def waits(self, ticket: int, bound: asyncio.Timeout) -> None:
        """A call has been sent, which `bound` can end."""
        now = asyncio.get_running_loop().time()
        self._calls[ticket] = now, bound
        if self._silence_s is None or self._asking:
            return
        if self._timer is None or self._looks_at > now + self.patience_s:
            self._look_after(self.patience_s)

    def heard(self) -> None:
        """A sign of life came, whatever it says."""
        self._heard = asyncio.get_running_loop().time()

    def waited_for(self, ticket: int) -> bool:
        """Whether the call has not been abandoned."""
        return ticket in self._calls

    def ended(self, ticket: int) -> None:
        """The call has ended."""
        self._calls.pop(ticket, None)

    def close(self) -> None:
        """DriftMonitor no more."""
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
        """Loop time at which silence is asked about."""
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
