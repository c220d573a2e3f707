"""The lower end: one connection to the tier above, kept, and the requests that wait on it for their answers."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from functools import partial
from ssl import SSLContext
from typing import Final
from urllib.parse import urlsplit

from ddnn.stream.frames import PATH, PROTOCOL, Up, framed
from ddnn.stream.lower import Asked, Broken, Lower, Refusal, Unspoken
from ddnn.stream.rows import Answered
from ddnn.types import Array
from ddnn.wire import Parameters

__all__ = ["Stream"]

_log = logging.getLogger("ddnn")

_TRIES: Final = 2  #: connections that a request goes out on
_BACK_S: Final = 0.25  #: between tries to connect, doubling to …
_MOST_BACK_S: Final = 5.0
_CONNECTING_S: Final = 5.0
_UNSPOKEN_S: Final = 60.0  #: until a tier above that speaks no streams is offered one again
_UNHEARD_S: Final = 5.0  #: the same where it may be that it is only ending, or what is between it and here
_CLIENT_ERRORS: Final = frozenset({404, 405, 400, 426, 501})  #: of a tier that knows no streams


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
        self._line: Lower | None = None
        self._connecting: asyncio.Task[Lower] | None = None
        self._queue: list[Asked] = []  # for want of credit
        self._unspoken_until = -1.0
        self._unspoken = False  # and the log has it
        self._holding: asyncio.Task[None] | None = None
        self._resuming: set[asyncio.Task[None]] = set()
        self._old: set[Lower] = set()
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

    @property
    def pressed(self) -> float | None:
        """Share of the events that the tier above would rather not have; None without a connection."""
        return self._line.pressed if self._line else None

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

    async def tell(self, report: bytes) -> None:
        """Send a report, until it was taken; raise `Broken`."""
        if self._line is None:
            raise Broken("there is no connection")
        self._line.send(framed(Up.TELL, report))
        await self._line.ping()  # which is answered after it

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

    def lost(self, line: Lower) -> None:
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

    def _put(self, line: Lower, asked: Asked) -> None:
        if len(line.under_way.asked) < line.credit:
            line.put(asked)
        else:
            self._queue.append(asked)

    def _forget(self, asked: Asked) -> None:
        if asked in self._queue:
            self._queue.remove(asked)
        for line in filter(None, (self._line, *self._old)):
            line.forget(asked)

    async def _connected(self, connect_s: float) -> Lower:
        """The connection, made within so long, by this caller or another."""
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(self._connection_made)
        try:
            async with asyncio.timeout(connect_s):
                return await asyncio.shield(self._connecting)
        except TimeoutError:
            raise Broken("no connection in time") from None

    def _connection_made(self, task: asyncio.Task[Lower]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # whoever waits has it

    async def _connect(self) -> Lower:
        loop, reached = asyncio.get_running_loop(), False
        make = partial(Lower, self, self._head, self._sizes)
        try:
            async with asyncio.timeout(_CONNECTING_S):
                server = self._host if self._tls else None
                _, line = await loop.create_connection(
                    make, self._host, self._port, ssl=self._tls, server_hostname=server
                )
                reached = True
                try:
                    await line.opened
                except BaseException:
                    line.abort()
                    raise
        except Refusal as refusal:
            if refusal.status in _CLIENT_ERRORS:
                raise self._without(f"it answered {refusal.status}: {refusal}", _UNSPOKEN_S) from refusal
            if refusal.foreign:
                raise self._without(f"what is between answered {refusal.status}: {refusal}", _UNHEARD_S) from refusal
            raise
        except TimeoutError:
            if reached:
                raise self._without(f"it gave no answer within {_CONNECTING_S:g} s", _UNHEARD_S) from None
            raise Broken(f"no connection within {_CONNECTING_S:g} s") from None
        except Broken as error:
            if reached:
                raise self._without(str(error), _UNHEARD_S) from error
            raise
        except (OSError, ValueError) as error:
            raise Broken(f"{type(error).__name__}: {error}") from error
        if self._ended:
            line.abort()
            raise Broken("this tier is ending")
        self._line, self._unspoken = line, False
        self._changed()
        return line

    def _without(self, why: str, seconds: float) -> Unspoken:
        """There is no stream to have for so long; the log hears of it once, until there was one."""
        self._unspoken_until = asyncio.get_running_loop().time() + seconds
        if not self._unspoken:
            self._unspoken = True
            _log.warning("%s takes no stream (%s); it is asked by HTTP", self.url, why)
        return Unspoken(why)

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
                    back_s = max(_BACK_S, self._unspoken_until - asyncio.get_running_loop().time())
                except (Broken, Refusal):
                    back_s = min(2 * back_s, _MOST_BACK_S)
            await asyncio.sleep(back_s * random.uniform(0.75, 1.25))
