"""The lower end: one connection to the tier above, kept, and the requests that wait on it for their answers."""

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from ssl import SSLContext
from typing import Final, cast
from urllib.parse import urlsplit

from ddnn.connections import kept_alive
from ddnn.errors import BadInput
from ddnn.stream.asks import AskWriter
from ddnn.stream.frames import PATH, PROTOCOL, Down, Refused, Up, framed, read_bulletin, read_refusal
from ddnn.stream.line import Line
from ddnn.stream.rows import Answered, read_answered
from ddnn.stream.varints import Reader, varint
from ddnn.types import Array
from ddnn.wire import Parameters

__all__ = ["Asked", "Broken", "Refusal", "Stream", "Unspoken"]

_MOST: Final = 32 << 20  #: bytes of a frame from above
_MOST_HEAD: Final = 64 << 10
_FIRST_CREDIT: Final = 16  #: until the tier above says more
_TRIES: Final = 2  #: connections that a request goes out on
_BACK_S: Final = 0.25  #: between tries to connect, doubling to …
_MOST_BACK_S: Final = 5.0
_CONNECTING_S: Final = 5.0
_UNSPOKEN_S: Final = 60.0  #: until a tier above that speaks no streams is offered one again
_CLIENT_ERRORS: Final = frozenset({404, 405, 400, 426, 501})  #: of a tier that knows no streams


class Broken(Exception):
    """There is no connection, or it broke; in words. `sent`: whether anything of the request may have gone out."""

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class Unspoken(Exception):
    """The tier above speaks no streams: HTTP is what there is."""


class Refusal(Exception):
    """The tier above refused the connection, or a request, as HTTP would: `status`, `after_s`, `message`."""

    def __init__(self, status: int, message: str, after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.after_s = status, after_s


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


class _Lower(Line):
    """One connection, from its first byte to its last."""

    def __init__(self, stream: "Stream", head: bytes, sizes: tuple[int, int]) -> None:
        super().__init__(_MOST)
        self._stream, self._head, self._sizes = stream, head, sizes
        self._answer = bytearray()  # to the offer
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.under_way = _Open()
        self.credit = _FIRST_CREDIT
        self.facts: dict[str, str] | None = None
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
                self._refused(Refusal(502, "the answer to the offer of a stream is too long"))
            return
        lines = head.split(b"\r\n")
        status = lines[0].split(b" ")[1] if lines[0].startswith(b"HTTP/1.") and lines[0].count(b" ") else b""
        if status == b"101":
            assert self._raw
            self.begin(self._raw)
            if not self.opened.done():
                self.opened.set_result(None)
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
        self._refused(Refusal(code, rest.decode("utf-8", "replace"), int(after) if after.isdigit() else None))

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
            self.facts = read_bulletin(payload)
            self._stream.told()
        elif what == Down.PONG:
            if self._pongs and not (pong := self._pongs.pop(0)).done():
                pong.set_result(None)
        elif what == Down.CREDIT:
            self.credit = max(1, Reader(payload).number(1 << 20))
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


class Stream:
    """The way to one address; connects when it is asked, or is kept open by `hold`."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        tls: SSLContext | None,
        classes: int,
        devices: int,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        """`headers` go with the offer; answers are over `classes` and `devices`; `changed` hears of what is told."""
        self.url, self._tls, self._sizes, self._changed = url, tls, (classes, devices), changed
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        offer = {"host": parts.netloc, "connection": "Upgrade", "upgrade": PROTOCOL, **headers}
        lines = [f"GET {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in offer.items())]
        self._head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self._line: _Lower | None = None
        self._connecting: asyncio.Task[_Lower] | None = None
        self._queue: list[Asked] = []  # for want of credit
        self._unspoken_until = -1.0
        self._holding: asyncio.Task[None] | None = None
        self._resuming: set[asyncio.Task[None]] = set()
        self._old: set[_Lower] = set()
        self._ended, self._down = False, asyncio.Event()
        self.sent = self.received = 0  #: bytes, of connections that are closed

    @property
    def open(self) -> bool:
        return self._line is not None

    @property
    def spoken(self) -> bool:
        """Whether the tier above may speak streams."""
        return asyncio.get_running_loop().time() >= self._unspoken_until

    @property
    def facts(self) -> Mapping[str, str] | None:
        """What the tier above has told last; None without a connection."""
        return self._line.facts if self._line else None

    async def ask(
        self,
        inputs: Mapping[str, Array],
        parameters: Parameters,
        *,
        within_s: float,
        connect_s: float,
        traceparent: bytes = b"",
        request_id: bytes = b"",
    ) -> tuple[Answered, Asked]:
        """An answer, with what it cost; raise `Broken`, `Unspoken`, `Refusal` or `BadInput`."""
        loop = asyncio.get_running_loop()
        line = self._line or await self._connected(connect_s)
        deadline, rows = loop.time() + within_s, len(next(iter(inputs.values())))
        asked = Asked(inputs, parameters, deadline, traceparent, request_id, loop.create_future(), rows)
        self._put(line, asked)
        try:
            if not line.writable.is_set():
                await line.writable.wait()
            return await asked.done, asked
        finally:
            if not asked.done.done() or asked.done.cancelled():
                self._forget(asked)

    async def ping(self) -> None:
        """A sign of life; raise `Broken`."""
        if self._line is None:
            raise Broken("there is no connection")
        await self._line.ping()

    def drop(self) -> None:
        """The connection is of no use any more: what waits goes out on another one."""
        if self._line:
            self._line.abort()

    def hold(self) -> None:
        """Keep a connection open from now on."""
        self._holding = self._holding or asyncio.get_running_loop().create_task(self._hold())

    def renew(self) -> None:
        """Connect anew; what waits is answered on the connection that there was."""
        line, self._line = self._line, None
        if line:
            line.retired = True
            self._old.add(line)
            if not line.under_way.asked:
                line.abort()
        if self._holding:
            self._holding.cancel()
            self._holding = None
            self.hold()

    async def aclose(self) -> None:
        self._ended = True
        tasks = [task for task in (self._holding, self._connecting, *self._resuming) if task]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for line in (self._line, *self._old):
            if line:
                line.abort()
        for asked in self._queue:
            if not asked.done.done():
                asked.done.set_exception(Broken("this tier is ending"))

    def told(self) -> None:
        self._changed()

    def room(self) -> None:
        """An answer has come: what waited for credit may go."""
        while self._queue and self._line and len(self._line.under_way.asked) < self._line.credit:
            asked = self._queue.pop(0)
            if not asked.done.done():
                self._line.put(asked)

    def lost(self, line: _Lower) -> None:
        """A connection has ended: what waits on it goes out once more, on the next."""
        self.sent, self.received = self.sent + line.sent, self.received + line.received
        self._old.discard(line)
        if self._line is line:
            self._line = None
            self._down.set()
            self._changed()
        waiting = [asked for asked in line.under_way.asked.values() if asked and not asked.done.done()]
        again = [asked for asked in waiting if asked.tries < _TRIES and not self._ended]
        for asked in waiting:
            if asked not in again:
                asked.done.set_exception(Broken("the connection broke", sent=True))
        if again:
            task = asyncio.get_running_loop().create_task(self._resume(again))
            self._resuming.add(task)
            task.add_done_callback(self._resuming.discard)

    async def _resume(self, waiting: list[Asked]) -> None:
        try:
            line = self._line or await self._connected(max(asked.deadline for asked in waiting))
        except (Broken, Refusal, Unspoken) as error:
            why = f"the connection broke, and there is no other ({error})"
            for asked in waiting:
                if not asked.done.done():
                    asked.done.set_exception(Broken(why, sent=True))
            return
        for asked in waiting:
            if not asked.done.done():
                self._put(line, asked)

    def _put(self, line: _Lower, asked: Asked) -> None:
        if len(line.under_way.asked) < line.credit:
            line.put(asked)
        else:
            self._queue.append(asked)

    def _forget(self, asked: Asked) -> None:
        if asked in self._queue:
            self._queue.remove(asked)
        for line in filter(None, (self._line, *self._old)):
            line.forget(asked)

    async def _connected(self, connect_s: float) -> _Lower:
        """The connection, made within so long, by this caller or another."""
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(self._connection_made)
        try:
            async with asyncio.timeout(connect_s):
                return await asyncio.shield(self._connecting)
        except TimeoutError:
            raise Broken("no connection in time") from None

    def _connection_made(self, task: asyncio.Task[_Lower]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # whoever waits has it

    async def _connect(self) -> _Lower:
        loop = asyncio.get_running_loop()
        make = partial(_Lower, self, self._head, self._sizes)
        try:
            async with asyncio.timeout(_CONNECTING_S):
                server = self._host if self._tls else None
                _, line = await loop.create_connection(
                    make, self._host, self._port, ssl=self._tls, server_hostname=server
                )
                try:
                    await line.opened
                except BaseException:
                    line.abort()
                    raise
        except Refusal as refusal:
            if refusal.status in _CLIENT_ERRORS:
                self._unspoken_until = loop.time() + _UNSPOKEN_S
                raise Unspoken(str(refusal)) from refusal
            raise
        except TimeoutError:
            raise Broken(f"no connection within {_CONNECTING_S:g} s") from None
        except (OSError, ValueError) as error:
            raise Broken(f"{type(error).__name__}: {error}") from error
        if self._ended:
            line.abort()
            raise Broken("this tier is ending")
        self._line = line
        self._changed()
        return line

    async def _hold(self) -> None:
        back_s = _BACK_S
        while not self._ended:
            if self._line:
                back_s = _BACK_S
                self._down.clear()
                await self._down.wait()
            else:
                try:
                    await self._connected(_CONNECTING_S)
                    continue
                except Unspoken:
                    back_s = _UNSPOKEN_S
                except (Broken, Refusal):
                    back_s = min(2 * back_s, _MOST_BACK_S)
            await asyncio.sleep(back_s * random.uniform(0.75, 1.25))
