"""One connection to the tier above, from its first byte to its last, and the requests that wait on it."""

import asyncio
import contextlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final, Protocol, cast

from ddnn.connections import kept_alive
from ddnn.errors import BadInput
from ddnn.stream.asks import AskWriter
from ddnn.stream.frames import PRESSED, Down, Refused, Up, framed, read_bulletin, read_refusal, read_share
from ddnn.stream.line import Line
from ddnn.stream.rows import Answered, read_answered
from ddnn.stream.varints import Reader, varint
from ddnn.types import Array
from ddnn.wire import Parameters, decode_error, is_error

__all__ = ["Asked", "Broken", "Lower", "Refusal", "Unspoken"]

_MOST: Final = 32 << 20  #: bytes of a frame from above
_MOST_HEAD: Final = 64 << 10


class Broken(Exception):
    """There is no connection, or it broke; in words. `sent`: whether anything of the request may have gone out."""

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class Unspoken(Exception):
    """The tier above speaks no streams: HTTP is what there is."""


class Refusal(Exception):
    """The tier above refused the connection, or a request, as HTTP would: `status`, `after_s`, `message`.

    Or what is between refused the connection: `foreign`.
    """

    def __init__(self, status: int, message: str, after_s: int | None = None, *, foreign: bool = False) -> None:
        super().__init__(message)
        self.status, self.after_s, self.foreign = status, after_s, foreign


@dataclass(eq=False, slots=True)
class Asked:
    """A request that waits."""

    inputs: Mapping[str, Array]
    parameters: Parameters
    deadline: float  #: loop time
    traceparent: bytes
    request_id: bytes
    done: asyncio.Future[Answered]
    rows: int
    tries: int = 0
    sent: int = 0  #: bytes of its frames
    received: int = 0  #: bytes of its answer
    sent_at: float = 0.0


@dataclass(eq=False)
class _Open:
    """What one connection has under way."""

    asked: dict[int, Asked | None] = field(default_factory=dict)  # by number; None: not waited for any more
    free: list[int] = field(default_factory=list)
    writer: AskWriter = field(default_factory=AskWriter)

    def number(self) -> int:
        return heappop(self.free) if self.free else len(self.asked)


class Above(Protocol):
    """What hears of a connection."""

    def lost(self, line: "Lower") -> None:
        """It has ended."""

    def told(self) -> None:
        """The tier above has told something."""

    def room(self) -> None:
        """One more request may go."""


class Lower(Line):
    """One connection, from its first byte to its last."""

    def __init__(self, stream: Above, head: bytes, sizes: tuple[int, int]) -> None:
        super().__init__(_MOST)
        self._stream, self._head, self._sizes = stream, head, sizes
        self._answer = bytearray()  # to the offer
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.under_way = _Open()
        self.credit = 0
        self.facts: dict[str, str] | None = None
        self.pressed = 0.0  #: share of the events that is better kept from the tier above
        self.retired = self.lost = False
        self._raw: asyncio.Transport | None = None
        self._pongs: list[asyncio.Future[None]] = []
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = raw = cast(asyncio.Transport, transport)
        if sock := transport.get_extra_info("socket"):
            kept_alive(sock)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent += len(self._head)
        raw.write(self._head)

    def data_received(self, data: bytes) -> None:
        if self.transport:
            super().data_received(data)
            return
        self._answer += data
        self.received += len(data)
        head, end, rest = bytes(self._answer).partition(b"\r\n\r\n")
        if not end:
            if len(self._answer) > _MOST_HEAD:
                self._refused(Refusal(502, "the answer to the offer of a stream is too long", foreign=True))
            return
        lines = head.split(b"\r\n")
        status = lines[0].split(b" ")[1] if lines[0].startswith(b"HTTP/1.") and lines[0].count(b" ") else b""
        if status == b"101":
            assert self._raw
            self.begin(self._raw)
            self.received -= len(rest)
            if rest:
                super().data_received(rest)
            return
        headers = dict(line.lower().partition(b": ")[::2] for line in lines[1:])
        length = headers.get(b"content-length", b"0")
        if len(rest) < (int(length) if length.isdigit() else 0) < _MOST_HEAD:
            return  # more is coming
        after = headers.get(b"retry-after", b"")
        code = int(status) if status.isdigit() else 502
        message, foreign = str(decode_error(code, rest)), not is_error(rest)
        self._refused(Refusal(code, message, int(after) if after.isdigit() else None, foreign=foreign))

    def _refused(self, refusal: Refusal) -> None:
        if not self.opened.done():
            self.opened.set_exception(refusal)
        self.abort()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.writable.set()
        if not self.opened.done():
            self.opened.set_exception(Broken(f"it closed before it was a stream ({exc or 'end of file'})"))
        for pong in self._pongs:
            if not pong.done():
                pong.set_exception(Broken("the connection broke"))
        self._stream.lost(self)

    def take(self, kind: int, payload: bytes) -> None:
        what = kind & 15
        if what == Down.ANSWER:
            self._answered(kind, payload)
        elif what == Down.REFUSAL:
            refused = read_refusal(payload)
            if asked := self._closed(refused.number, len(payload)):
                asked.done.set_exception(_as_refusal(refused))
        elif what == Down.BULLETIN:
            before, self.facts = self.facts, read_bulletin(payload)
            self.pressed = read_share(self.facts.pop(PRESSED, ""))
            if self.facts != before:  # how pressed a tier is says nothing to those that follow it
                self._stream.told()
        elif what == Down.PONG:
            if self._pongs and not (pong := self._pongs.pop(0)).done():
                pong.set_result(None)
        elif what == Down.CREDIT:
            self.credit = max(1, Reader(payload).number(1 << 20))
            if not self.opened.done():  # nothing may be asked before
                self.opened.set_result(None)
            self._stream.room()
        else:
            raise BadInput(f"a frame has the kind {what}; expected one of {', '.join(map(str, Down))}")

    def _answered(self, kind: int, payload: bytes) -> None:
        number = Reader(payload).number()
        asked = self.under_way.asked.get(number)
        if asked is None:
            self._closed(number, 0)
            return
        answered = read_answered(kind, payload, asked.rows, *self._sizes)
        if self._closed(number, len(payload)):
            asked.done.set_result(answered)

    def _closed(self, number: int, size: int) -> Asked | None:
        """A number is free again; its request, if that still waits."""
        if number not in self.under_way.asked:
            raise BadInput(f"an answer has the number {number}, which nothing waits for")
        asked = self.under_way.asked.pop(number)
        heappush(self.under_way.free, number)
        self._stream.room()
        if self.retired and not self.under_way.asked:
            self.abort()
        if asked is None or asked.done.done():
            return None
        asked.received += size + len(varint(size)) + 1
        return asked

    def nonsense(self, error: BadInput) -> None:
        for asked in self.under_way.asked.values():
            if asked and not asked.done.done():
                asked.done.set_exception(error)
        self.abort()

    def put(self, asked: Asked) -> None:
        """Send a request."""
        number, now = self.under_way.number(), self._loop.time()
        left_ms = int(1000 * (asked.deadline - now))
        try:
            frame = self.under_way.writer.write(
                number,
                asked.inputs,
                asked.parameters,
                left_ms,
                traceparent=asked.traceparent,
                request_id=asked.request_id,
            )
        except BadInput as error:
            heappush(self.under_way.free, number)
            asked.done.set_exception(error)
            return
        self.under_way.asked[number] = asked
        asked.tries += 1
        asked.sent += len(frame)
        asked.sent_at = now
        self.send(frame)

    def forget(self, asked: Asked) -> None:
        """Its answer is not waited for any more."""
        for number, other in self.under_way.asked.items():
            if other is asked:
                self.under_way.asked[number] = None
                self.send(framed(Up.CANCEL, varint(number)))
                if self.heard < asked.sent_at:  # nothing at all has come since: what is sent may go nowhere
                    self.abort()
                return

    async def ping(self) -> None:
        pong: asyncio.Future[None] = self._loop.create_future()
        self._pongs.append(pong)
        self.send(framed(Up.PING))
        await pong

    def abort(self) -> None:
        if self._raw:
            self._raw.abort()


def _as_refusal(refused: Refused) -> Refusal:
    return Refusal(refused.status, f"{refused.message} ({refused.code})", refused.after_s or None)
