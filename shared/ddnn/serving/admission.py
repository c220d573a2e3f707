"""Which requests are let in, by head and body: bounds of requests, of bytes and of the wait, shared by callers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from starlette.types import Message, Receive

from ddnn.errors import DDNNError, DeadlineExceeded, Overloaded
from ddnn.serving.lag import LoopLag
from ddnn.serving.memory import REQUESTS
from ddnn.serving.metrics import Metrics
from ddnn.serving.request import reserve
from ddnn.serving.shares import Shares
from ddnn.settings import Settings

__all__ = ["Admission", "Seat"]

_ROW_BYTES: Final = 2000  #: what an event costs beside its tensors
_LONGEST_RETRY_S: Final = 60
_CAUTION: Final = 1.25  #: a wait may turn out so many times as long as is expected
_TURNS: Final = 3  #: a request waits for the loop when it comes, is run or asked above, and is answered


@dataclass(eq=False, slots=True)
class Seat:
    """What one request holds until it is left: its bytes as they come, and a place once the body is there."""

    admission: "Admission"
    caller: str
    size: int = 0
    taken: bool = False

    def take(self, size: int) -> None:
        """Hold room for `size` more bytes, or raise `Overloaded`; a request that is alone is let in."""
        held = self.admission.bytes
        if held.held > self.size and not held.fits(self.caller, size):
            raise self.admission.full("bytes", f"requests of {held.held} bytes are being worked on already")
        held.take(self.caller, size)
        self.size += size

    def unpacked(self, size: int) -> None:
        """The body is `size` bytes, of which some may have come packed."""
        if size > self.size:
            self.take(size - self.size)

    def sit(self) -> None:
        """Hold a place, as the body is there, or raise `Overloaded`."""
        self.admission.refuse_without_room(self.caller)
        self.admission.requests.take(self.caller)
        self.taken = True

    def rows(self, count: int) -> None:
        """Hold room for what so many events need beside their tensors, or raise `Overloaded`."""
        self.take(count * _ROW_BYTES)

    def counted(self, receive: Receive) -> Receive:

        async def counting() -> Message:
            message = await receive()
            self.take(len(message.get("body", b"")))
            return message

        return counting

    def leave(self) -> None:
        self.admission.bytes.give(self.caller, self.size)
        self.size = 0
        if self.taken:
            self.admission.requests.give(self.caller)
            self.taken = False


class Queue(Protocol):
    """What an event waits in."""

    @property
    def wait_s(self) -> float:
        """Seconds."""


class Admission:
    """Bounds of one tier, of which `room` is the most requests at once."""

    def __init__(
        self, settings: Settings, metrics: Metrics, *, room: int, queues: Sequence[Queue], lag: LoopLag
    ) -> None:
        """A request that comes now would wait for the sections' `queues`, and for the event loop, late by `lag`."""
        self._default_s = settings.deadline_ms / 1000
        self._queues, self._lag = queues, lag
        self._late = metrics.late_answer
        self._shed = {reason: metrics.shed.labels(reason) for reason in ("in_flight", "bytes", "deadline")}
        self.requests = Shares(room)  # being worked on
        self.bytes = Shares(settings.max_in_flight_bytes or REQUESTS)  # of their bodies as they came, and of their rows

    @property
    def wait_s(self) -> float:
        """Seconds that an event which came now would wait for all sections and for the event loop."""
        return sum([queue.wait_s for queue in self._queues], _TURNS * self._lag.standing_s)

    def refuse_without_room(self, caller: str) -> None:
        """Raise `Overloaded` unless one more request of this caller may be worked on."""
        if not self.requests.fits(caller):
            mine = f", {self.requests.of(caller)} of them this caller's"
            raise self.full("in_flight", f"{self.requests.held} requests are being worked on already{mine}")

    def admit(
        self, headers: Mapping[bytes, bytes], came: float, budget_ms: float | None = None, caller: str = ""
    ) -> Seat:
        """Let in the head that came at `came`, by `time.monotonic`; raise `Overloaded` or `DeadlineExceeded`.

        A head alone holds nothing; a body that could not be held is refused before it is read.
        """
        self.refuse_without_room(caller)
        budget = self._default_s if budget_ms is None else budget_ms / 1000
        waited, wait = monotonic() - came, self.wait_s
        if budget_ms is not None and waited >= budget:
            self._late.inc()
            raise DeadlineExceeded(f"the deadline had passed: {waited * 1000:.0f} of {budget * 1000:.0f} ms were over")
        # What is let in with just enough time is run and comes too late: some is kept for the answer.
        if wait > 0 and waited + _CAUTION * wait + reserve(budget - waited) > budget:
            more = f"the wait for this tier is {wait * 1000:.0f} ms, and of the time allowed"
            raise self.full("deadline", f"{more} {(budget - waited) * 1000:.0f} ms are left")
        length = headers.get(b"content-length", b"0")
        if self.bytes.held and length.isdigit() and not self.bytes.fits(caller, int(length)):
            raise self.full("bytes", f"requests of {self.bytes.held} bytes are being worked on already")
        return Seat(self, caller)

    def retry_after(self) -> int:
        """Whole seconds until what waits here now is through, at least one."""
        return min(max(1, math.ceil(self.wait_s)), _LONGEST_RETRY_S)

    def full(self, reason: str, found: str) -> DDNNError:
        """Count a refusal, and say when to ask again."""
        self._shed[reason].inc()
        return Overloaded(f"{found}; ask again in {self.retry_after()} s")
