"""Kept HTTP/1.1 connections to one address, as cheap as Python makes them: whole requests out, whole responses in.

A load generator shares the machine with what it measures; an HTTP client of many layers would be a large part of it.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import SplitResult, urlsplit

import httptools

from ddnn.errors import BadInput

__all__ = ["Connections", "Response", "request_head"]

_KEEP_S: Final = 3.0
"""A connection idle for longer is not used again: the server may be closing it at this moment."""


@dataclass(slots=True)
class Response:
    """What came back."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    """By lower-case name."""
    body: bytes = b""


def request_head(url: str, headers: dict[str, str], *, path: str | None = None, length: int) -> bytes:
    """The head of a POST to `url`, or to `path` there, of a body of `length` bytes."""
    parts = _checked(url)
    lines = {"host": parts.netloc, "content-length": str(length), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path or parts.path or '/'} HTTP/1.1\r\n{head}\r\n".encode("latin-1")


def _checked(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise BadInput(f"{url!r} is not an address to load; expected one like http://127.0.0.1:8010")
    return parts


class Connections:
    """Connections to the host of `url`; at most `most`, who comes then waits for one. Belongs to one event loop."""

    def __init__(self, url: str, *, most: int = 256) -> None:
        parts = _checked(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
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
        _, connection = await loop.create_connection(lambda: _Connection(self._open), self._host, self._port)
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
