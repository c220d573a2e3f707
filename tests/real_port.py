"""A tier in this process behind a real port, with the protocol class that it is served by, and clients of its bytes."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from typing import Any, Final, NamedTuple

import orjson
import uvicorn
from fastapi import FastAPI

from ddnn.serving.connection import BoundedHeads
from ddnn.serving.server import over_tls
from ddnn_lab.in_process import INFER

__all__ = ["OTHER", "PATIENCE_S", "Reply", "ask", "between", "post", "reply", "serving", "until", "whole"]

PATIENCE_S: Final = 30
OTHER: Final = "127.0.0.2"
"""Another address of this machine, for callers that are not those of 127.0.0.1."""


class Reply(NamedTuple):
    """A whole response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The sentence of an error body."""
        return str(orjson.loads(self.body)["error"])


async def until(happened: Callable[[], bool]) -> None:
    """Let the loop turn until it has happened."""
    async with asyncio.timeout(PATIENCE_S):
        for _ in iter(happened, True):
            await asyncio.sleep(0)


@asynccontextmanager
async def serving(app: FastAPI, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve `app`, over TLS with a context; give its port."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    protocol: Any = over_tls(context) if context else BoundedHeads
    config = uvicorn.Config(app, http=protocol, log_config=None, lifespan="off", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        await task
        listening.close()


@asynccontextmanager
async def between(port: int) -> AsyncIterator[tuple[int, list[asyncio.StreamWriter]]]:
    """A way to `port` that can be broken: its own port, and the connections that go over it."""
    ends: list[asyncio.StreamWriter] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up, down = await asyncio.open_connection("127.0.0.1", port)
        ends.extend((writer, down))
        await asyncio.gather(carry(reader, down), carry(up, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], ends
    finally:
        for end in ends:
            end.transport.abort()
        server.close()


async def reply(port: int, *parts: bytes, half_closed: bool = False, source: str = "127.0.0.1") -> bytes:
    """Everything that comes back until the server closes; `half_closed`: this side says that it sends no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if half_closed:
            writer.write_eof()
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read()
    except ConnectionError:
        return b"closed"
    finally:
        writer.close()


def whole(body: bytes, headers: Mapping[str, str] | None = None, path: str = INFER) -> bytes:
    """An inference request as its bytes."""
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def ask(port: int, *requests: tuple[str, str]) -> list[Reply]:
    """Replies to requests without a body, each a method and a path, one after the other on one connection."""

    def exchange() -> list[Reply]:
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        replies = []
        for method, path in requests:
            connection.request(method, path)
            response = connection.getresponse()
            replies.append(Reply(response.status, _lowered(response.getheaders()), response.read()))
        connection.close()
        return replies

    return await asyncio.to_thread(exchange)


async def post(port: int, body: bytes, path: str = INFER, **headers: str) -> Reply:
    """The reply to an inference request; `_` in a header's name is a hyphen."""

    def exchange() -> Reply:
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        connection.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        given = Reply(response.status, _lowered(response.getheaders()), response.read())
        connection.close()
        return given

    return await asyncio.to_thread(exchange)


def _lowered(headers: list[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}
