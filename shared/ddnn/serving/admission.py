"""Who is let in: decided from a request's head, before a byte of its body is read.

Three bounds: requests being worked on, bytes of their bodies, and the wait that is to be expected against the time that
is left. Refusing costs microseconds, so that what is offered beyond the bounds does not take from what is within them.
"""

import math
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

from starlette.types import Message, Receive, Scope

from ddnn.errors import BadInput, DDNNError, DeadlineExceeded, Overloaded
from ddnn.serving.case import reserve
from ddnn.serving.metrics import Metrics
from ddnn.serving.terms import read_budget
from ddnn.settings import Settings

__all__ = ["Admission", "Seat", "arrived"]

_DEFLATE: Final = 1032
"""Deflate makes at most so many bytes out of one."""
_LONGEST_RETRY_S: Final = 60
_CAUTION: Final = 1.25
"""A wait may turn out so many times as long as is expected."""


def arrived(scope: Scope) -> float:
    """When the request's first byte was received, in seconds of `time.monotonic`; now, where the server did not say."""
    at: float = scope.setdefault("state", {}).setdefault("arrived", monotonic())
    return at


class Seat:
    """What one admitted request holds until it is left; of a body without a length, the bytes as they come."""

    def __init__(self, admission: "Admission", size: int, packed: bool) -> None:
        self._admission, self._packed = admission, packed
        self.size = 0
        self.take(size)

    def take(self, size: int) -> None:
        """Hold the room for `size` more bytes of the body; raise `Overloaded` when there is none."""
        size = self._admission.charge(size * _DEFLATE if self._packed else size, held=self.size)
        self.size += size

    def counted(self, receive: Receive) -> Receive:
        """`receive`, with what comes held."""

        async def counting() -> Message:
            message = await receive()
            self.take(len(message.get("body", b"")))
            return message

        return counting

    def leave(self) -> None:
        """Free the room."""
        self._admission.bytes -= self.size
        self._admission.requests -= 1
        self.size = 0


class Admission:
    """Bounds of one tier; `room` is the most requests at once, `wait_s` what one that comes now would wait."""

    def __init__(
        self, settings: Settings, metrics: Metrics, *, room: Callable[[], int], wait_s: Callable[[], float]
    ) -> None:
        self._most_bytes, self._most_each = settings.max_in_flight_bytes, settings.max_body_bytes
        self._default_s = settings.deadline_ms / 1000
        self._room, self._wait_s = room, wait_s
        self._late = metrics.late.labels("answer")
        self._shed = {reason: metrics.shed.labels(reason) for reason in ("in_flight", "bytes", "deadline")}
        self.requests = 0
        """Being worked on."""
        self.bytes = 0
        """Of their bodies, as they were announced or as they came; packed ones as large as they may become."""

    def admit(self, headers: Mapping[bytes, bytes], came: float) -> Seat:
        """Let a request in that came at `came`, or raise `Overloaded` or `DeadlineExceeded`."""
        if self.requests >= self._room():
            raise self._full("in_flight", f"{self.requests} requests are being worked on already")
        stated = self._stated(headers)
        budget = self._default_s if stated is None else stated
        waited, wait = monotonic() - came, self._wait_s()
        if stated is not None and waited >= stated:
            self._late.inc()
            raise DeadlineExceeded(f"the deadline had passed: {waited * 1000:.0f} of {stated * 1000:.0f} ms were over")
        # Whoever is let in with just enough time is the one who is run and comes too late: some is kept for the answer.
        if wait > 0 and waited + _CAUTION * wait + reserve(budget - waited) > budget:
            more = f"the wait for this tier is {wait * 1000:.0f} ms, and of the time allowed"
            raise self._full("deadline", f"{more} {(budget - waited) * 1000:.0f} ms are left")
        length = headers.get(b"content-length", b"0")
        packed = headers.get(b"content-encoding", b"identity") not in (b"", b"identity")
        seat = Seat(self, int(length) if length.isdigit() else 0, packed)
        self.requests += 1
        return seat

    def charge(self, size: int, *, held: int) -> int:
        """Take room for `size` bytes, no more than a body may have over the `held` ones; raise `Overloaded`.

        Whoever is alone is let in: a body within its own bound would never be answered otherwise.
        """
        size = min(size, self._most_each - held)
        if self.bytes > held and self.bytes + size > self._most_bytes:
            raise self._full("bytes", f"bodies of {self.bytes} bytes are being worked on already")
        self.bytes += size
        return size

    def retry_after(self) -> int:
        """Whole seconds until who waits here now is through, at least one."""
        return min(max(1, math.ceil(self._wait_s())), _LONGEST_RETRY_S)

    @staticmethod
    def _stated(headers: Mapping[bytes, bytes]) -> float | None:
        """Seconds allowed by the head, None where it does not say; one that makes no sense is the route's to refuse."""
        given = headers.get(b"x-ddnn-deadline-ms")
        if given is None:
            return None
        try:
            budget_ms = read_budget({"x-ddnn-deadline-ms": given.decode("latin-1")})
        except BadInput:
            return None
        return None if budget_ms is None else budget_ms / 1000

    def _full(self, reason: str, found: str) -> DDNNError:
        self._shed[reason].inc()
        return Overloaded(f"{found}; ask again in {self.retry_after()} s")
