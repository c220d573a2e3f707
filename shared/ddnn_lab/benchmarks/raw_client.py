"""A closed loop over raw connections: the same bytes again and again, with next to no work a request."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import cast

import numpy as np

__all__ = ["Load", "ask_once", "closed_loop", "request_bytes"]

_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


@dataclass
class Load:
    """What a round of asking saw."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    """CPU time that asking itself took."""
    server_cpu_s: float = 0.0
    """CPU time that answering took, where somebody notes it."""
    times: list[float] = field(default_factory=list)
    """Seconds from the last byte of a request out to the last byte of its answer in."""

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return len(self.times) / self.seconds

    @property
    def server_cpu_each_s(self) -> float:
        """Seconds of the server's CPU time an answer."""
        return self.server_cpu_s / len(self.times)

    def percentile(self, q: float) -> float:
        """Seconds."""
        return float(np.percentile(self.times, q))


class _Connection(asyncio.Protocol):
    """Sends the request again whenever its answer is there, until told to stop."""

    def __init__(self, request: bytes, times: list[float], until: float) -> None:
        self._request, self._times, self._until = request, times, until
        self._buffer = b""
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self._ask()

    def _ask(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(_END)
        if end < 0:
            return
        at = self._buffer.find(_LENGTH) + len(_LENGTH)
        length = int(self._buffer[at : self._buffer.index(b"\r", at)])
        if len(self._buffer) < end + len(_END) + length:
            return
        now = time.perf_counter()
        self._times.append(now - self._sent)
        answer, self._buffer = self._buffer, b""
        if not answer.startswith(b"HTTP/1.1 200"):
            self._finish(RuntimeError(f"not 200: {answer[:400]!r}"))
        elif now < self._until:
            self._ask()
        else:
            self.done.set_result(answer[end + len(_END) :])
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._finish(error or ConnectionError("the server closed the connection"))

    def _finish(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
        self._transport.close()


def request_bytes(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A whole POST as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + _END + body


async def closed_loop(port: int, request: bytes, *, connections: int, seconds: float) -> Load:
    """Ask over so many connections, each with one request under way, for `seconds`; raise what went wrong."""
    load, loop = Load(), asyncio.get_running_loop()
    cpu, start = time.process_time(), time.perf_counter()
    until = start + seconds
    made = [
        loop.create_connection(lambda: _Connection(request, load.times, until), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.gather(*[protocol.done for _, protocol in await asyncio.gather(*made)])
    load.seconds, load.cpu_s = time.perf_counter() - start, time.process_time() - cpu
    return load


async def ask_once(port: int, request: bytes) -> bytes:
    """The body of one answer."""
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(lambda: _Connection(request, [], 0.0), "127.0.0.1", port)
    return await protocol.done
