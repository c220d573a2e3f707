"""What is loaded: a fleet, or any HTTP service, over kept HTTP/1.1 connections as cheap as Python makes them."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Final, cast
from urllib.parse import SplitResult, urlsplit
from uuid import uuid4

import httptools
import numpy as np

from ddnn.answers import outputs_to_answers
from ddnn.client import join
from ddnn.client.client import session_headers
from ddnn.connections import trusted
from ddnn.errors import BadInput
from ddnn.types import Answer, Array, Bools, Ints
from ddnn.wire import HEADER_LENGTH, decode_error, decode_response, encode_request
from ddnn_lab.load.drive import Outcome

__all__ = ["Connections", "FleetTarget", "HttpTarget", "Response", "request_head"]

_KEEP_S: Final = 3.0  #: a connection idle for longer is not used again: the server may be closing it at this moment


@dataclass(slots=True)
class Response:
    """What came back."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)  #: by lower-case name
    body: bytes = b""


def request_head(url: str, headers: dict[str, str], *, path: str | None = None, length: int) -> bytes:
    """The head of a POST to `url`, or to `path` there, of a body of `length` bytes."""
    parts = _checked(url)
    lines = {"host": parts.netloc, "content-length": str(length), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path or parts.path or '/'} HTTP/1.1\r\n{head}\r\n".encode("latin-1")


def _checked(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput(f"{url!r} is not an address to load; expected one like http://127.0.0.1:8010")
    return parts


class Connections:
    """Connections to the host of `url`; at most `most`, who comes then waits for one. Belongs to one event loop."""

    def __init__(self, url: str, *, most: int = 256, tls: SSLContext | None = None) -> None:
        """`tls` is what connections to https are made by; by default callers' own."""
        parts = _checked(url)
        self._tls = (tls or trusted(url)) if parts.scheme == "https" else None
        self._host, self._port = parts.hostname or "", parts.port or (443 if self._tls else 80)
        self._idle: deque[_Connection] = deque()
        self._open: set[_Connection] = set()
        self._room = asyncio.Semaphore(most)

    async def post(self, request: bytes) -> Response:
        """Send a whole request, head and body, and return the whole response; raises `OSError` where there is none."""
        async with self._room:
            connection = await self._take()
            try:
                response = await connection.ask(request)
            except BaseException:  # also when the caller has no more time: what is still to come must not be read
                connection.close()
                raise
            if not connection.closed:
                self._idle.append(connection)
            return response

    def close(self) -> None:
        """Close them all."""
        for connection in list(self._open):
            connection.close()

    async def _take(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        while self._idle:
            connection = self._idle.pop()  # the last used: the others grow old and go
            if not connection.closed and loop.time() - connection.used < _KEEP_S:
                return connection
            connection.close()
        where: tuple[str, int] = self._host, self._port
        _, connection = await loop.create_connection(lambda: _Connection(self._open), *where, ssl=self._tls)
        return connection


class _Connection(asyncio.Protocol):
    """One request at a time; also what httptools calls back."""

    def __init__(self, opened: set["_Connection"]) -> None:
        self.closed, self.used = False, 0.0
        self._opened = opened
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Response] | None = None
        self._response, self._parts = Response(), list[bytes]()
        self._parser = httptools.HttpResponseParser(self)

    async def ask(self, request: bytes) -> Response:
        if self.closed or self._transport is None:
            raise ConnectionResetError("the connection is closed")
        self._response, self._parts = Response(), []
        self._waiter = self._loop.create_future()
        self._transport.write(request)
        return await self._waiter

    def close(self) -> None:
        if self._transport and not self.closed:
            self._transport.abort()
        self.closed = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is none of asyncio's
        self._opened.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._opened.discard(self)
        self._fail(error or ConnectionResetError("closed by the other side"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"no HTTP ({error})"))
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._response.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        waiter, response = self._waiter, self._response
        response.status, response.body = self._parser.get_status_code(), b"".join(self._parts)
        self.used = self._loop.time()
        if not self._parser.should_keep_alive():
            self.close()
        if waiter and not waiter.done():
            waiter.set_result(response)

    def _fail(self, error: Exception) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_exception(error)


PATH: Final = "/v2/models/ddnn/infer"
_GRACE_S: Final = 2.0  #: how much longer than the deadline an answer is listened for: a late one is late, not lost
_LENGTH: Final = HEADER_LENGTH.lower().encode()
_ID: Final = "{run}{number:012d}"
_PLACEHOLDER: Final = _ID.format(run="0" * 8, number=0).encode()
_BEFORE_ID: Final = 4  #: bytes of a BYTES element's length


@dataclass
class FleetTarget:
    """All devices of a fleet: an event's views are posted to them at once, and the client's rule takes one answer.

    Events come in a shuffled order, from the start again when they run out, under a new id each time.
    """

    urls: Sequence[str]  #: of the devices, in order
    views: Sequence[Array]  #: D arrays [N, …]
    y: Ints | None = None  #: [N], true classes where known
    present: Bools | None = None  #: [N, D], who sees what; None = everybody everything
    deadline_s: float = 2.0
    token: str | None = None
    parameters: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    """Of every request: `max_exit`, `threshold`, `wait_ms`."""
    seed: int = 0
    connections: int = 256  #: to each device, at most; who comes then waits for one, and that counts in the latency

    def __post_init__(self) -> None:
        if len(self.urls) != len(self.views):
            raise BadInput(f"there are {len(self.urls)} addresses for the views of {len(self.views)} devices")
        self.views = [
            view.astype(np.float32, copy=False) if view.dtype.kind == "f" else view
            for view in map(np.asarray, self.views)
        ]
        self._run = uuid4().hex[:8]
        self._order = np.random.default_rng(self.seed).permutation(len(self.views[0])).tolist()
        self._connections: list[Connections] = []
        self._heads = [self._head(device) for device in range(len(self.urls))]

    async def __call__(self, number: int) -> Outcome:
        """Ask for event `number`."""
        if not self._connections:
            self._connections = [Connections(url, most=self.connections) for url in self.urls]
        row = self._order[number % len(self._order)]
        id = _ID.format(run=self._run, number=number).encode()
        devices = range(len(self.urls)) if self.present is None else np.flatnonzero(self.present[row]).tolist()
        told = await asyncio.gather(*(self._ask(device, row, id) for device in devices))
        errors = tuple(code for code in told if isinstance(code, str))
        answers = [answer for answer in told if not isinstance(answer, str)]
        try:
            best = answers[join(answers)]
        except BadInput:  # nobody has a label
            return Outcome(False, errors=errors or tuple(answer.degraded_reason for answer in answers))
        return Outcome(
            True,
            label=best.label,
            right=None if self.y is None else best.label == int(self.y[row]),
            exit=best.exit.value,
            degraded=best.degraded,
            reason=best.degraded_reason,
            bytes_up=sum(answer.bytes_up for answer in answers),
            errors=errors,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        for each in self._connections:
            each.close()
        self._connections = []

    async def _ask(self, device: int, row: int, id: bytes) -> Answer | str:
        request = b"".join((self._heads[device], id, self.views[device][row].tobytes()))
        told = await _exchange(self._connections[device], request, self.deadline_s)
        if isinstance(told, str):
            return told
        if told.status != 200:
            return decode_error(told.status, told.body).code
        try:
            outputs = decode_response(told.body, told.headers.get(_LENGTH, b"").decode("latin-1") or None).outputs
            return outputs_to_answers(outputs, rows=1)[0]
        except BadInput:
            return "NONSENSE"

    def _head(self, device: int) -> bytes:
        """Everything before the event's id and the view: HTTP head, JSON header, the id's length."""
        inputs = {"event": np.array([_PLACEHOLDER], np.object_), "view": self.views[device][:1]}
        body, headers = encode_request(inputs, parameters=dict(self.parameters))
        own = {"x-ddnn-deadline-ms": f"{1000 * self.deadline_s:.0f}", **session_headers(self.token)}
        head = request_head(self.urls[device], {**headers, **own}, path=PATH, length=len(body))
        return head + body[: int(headers[HEADER_LENGTH]) + _BEFORE_ID]


@dataclass
class HttpTarget:
    """Any HTTP service: `bodies` are posted in turn, `read` makes an outcome of event and response body."""

    url: str
    bodies: Sequence[bytes]
    read: Callable[[int, bytes], Outcome]
    """Of the body's index and what came back with status 200; raise `ValueError` for what is in the wrong format."""
    headers: Mapping[str, str] = field(default_factory=dict)
    deadline_s: float = 2.0
    connections: int = 256
    tls: SSLContext | None = None  #: see `Connections`

    def __post_init__(self) -> None:
        self._connections: Connections | None = None
        self._requests = [
            request_head(self.url, {"accept-encoding": "identity", **self.headers}, length=len(body)) + body
            for body in self.bodies
        ]

    async def __call__(self, number: int) -> Outcome:
        """Post body `number`, counted round."""
        if self._connections is None:
            self._connections = Connections(self.url, most=self.connections, tls=self.tls)
        place = number % len(self._requests)
        told = await _exchange(self._connections, self._requests[place], self.deadline_s)
        if isinstance(told, str):
            return Outcome(False, errors=(told,))
        if told.status != 200:
            return Outcome(False, errors=(str(told.status),))
        try:
            return self.read(place, told.body)
        except ValueError:
            return Outcome(False, errors=("NONSENSE",))

    async def aclose(self) -> None:
        """Close the connections."""
        if self._connections:
            self._connections.close()
        self._connections = None


async def _exchange(connections: Connections, request: bytes, deadline_s: float) -> Response | str:
    """The response, or a code for why there is none."""
    with suppress(TimeoutError):
        async with asyncio.timeout(deadline_s + _GRACE_S):
            try:
                return await connections.post(request)
            except OSError:
                return "NO_CONNECTION"
    return "NO_ANSWER"
