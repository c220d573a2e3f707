"""A link between two tiers that is slow, narrow, unsteady and broken, as links are: a proxy, for tests and studies."""

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import cycle
from random import Random
from typing import Final, Literal, Self, get_args

import httptools

from ddnn.errors import BadConfig
from ddnn.links import LinkShape

__all__ = ["ANSWERS", "FAULTS", "THROUGH", "Fault", "Flow", "Lane", "Link", "serve_fault", "until"]

Fault = Literal[
    "none",
    "refuse",  # connections are refused, open ones reset
    "hang",  # connections are taken, and nothing passes either way
    "garbage",  # bytes that are no HTTP, then the end
    "nonsense",  # HTTP 200 with a body that means nothing
    "error500",  # HTTP 500
    "cut-up",  # nothing passes upward
    "cut-down",  # nothing passes downward
    "flap",  # refuses and passes in turn
]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
THROUGH: Final[frozenset[Fault]] = frozenset({"none", "hang", "cut-up", "cut-down"})
"""Under these the far end is the real one, and open connections outlive a change from one to another."""


def _http(status: str, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


_OUTPUT = b'{"name":"label","datatype":"INT64","shape":[1],"parameters":{"binary_data_size":8}}'
_PROMISING = b'{"model_name":"ddnn","outputs":[' + _OUTPUT + b"]}"

ANSWERS: Final[Mapping[Fault, Sequence[bytes]]] = {
    "garbage": [b"\x15\x03\x01\x00\x02\x02\x46 this is no HTTP\r\n\r\n", b"\x00" * 512],
    "nonsense": [
        _http("200 OK", b"{}", "content-type: application/json"),
        _http("200 OK", b"<html><body>welcome</body></html>", "content-type: text/html"),
        # A label, well-formed and alone: not what was asked for.
        _http("200 OK", _PROMISING + bytes(8), f"inference-header-content-length: {len(_PROMISING)}"),
        _http("200 OK", b'{"outputs": 3', "inference-header-content-length: 9000"),
        _http("200 OK", b""),
    ],
    "error500": [_http("500 Internal Server Error", b'{"error": "something broke"}', "content-type: application/json")],
}
"""What is answered instead of the far end, in turn."""


_SMALLEST, _LARGEST = 1460, 16384
_TURN_S: Final = 0.005  #: one connection sends for about so long before it is another's turn


class Lane:
    """A pipe that sends one bit after the other; all times are seconds of one clock."""

    def __init__(self, shape: LinkShape, seed: int) -> None:
        self.shape = shape
        self._chance = Random(seed)
        self._free = 0.0
        self.passed = 0
        """Bytes delivered."""

    @property
    def chunk(self) -> int:
        """Most bytes to send at once, so that connections share the lane fairly."""
        return int(min(_LARGEST, max(_SMALLEST, self.shape.bits_per_s / 8 * _TURN_S)))

    def send(self, size: int, now: float, *, after: float = 0.0) -> tuple[float, float]:
        """When the last of `size` bytes has left, and when it is there: never before `after`, so that order is kept."""
        self._free = max(now, self._free) + 8 * size / self.shape.bits_per_s
        jitter = self._chance.expovariate(2 / self.shape.jitter_s) if self.shape.jitter_s else 0.0
        return self._free, max(after, self._free + self.shape.round_trip_s / 2 + jitter)


_MOST_CHUNKS: Final = 64  #: on their way at once; whoever sends more waits
_AHEAD_S: Final = 0.005  #: so much may stand before the lane, or it would idle whenever the loop wakes up late


class Flow:
    """Bytes from `source` to `sink`; they arrive only while `passes` is set."""

    def __init__(
        self, lane: Lane, source: StreamReader, sink: StreamWriter, passes: asyncio.Event, opens: float
    ) -> None:
        """`opens` is when the first byte may leave at the earliest, in loop time."""
        self._lane, self._source, self._sink, self._passes = lane, source, sink, passes
        self._opens, self._last = opens, 0.0
        self._queue: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue(_MOST_CHUNKS)

    async def run(self) -> None:
        """Until the source has ended and all of it is delivered; raise `ConnectionError` for a broken connection."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take())
            group.create_task(self._give())

    async def _take(self) -> None:
        now = asyncio.get_running_loop().time
        await until(self._opens)
        while True:
            try:
                data: bytes | None = await self._source.read(self._lane.chunk)
            except ConnectionError:
                data = None
            sent, self._last = self._lane.send(len(data or b""), now(), after=self._last)
            await until(sent - _AHEAD_S)
            await self._queue.put((self._last, data))
            if not data:
                return

    async def _give(self) -> None:
        while True:
            arrives, data = await self._queue.get()
            await until(arrives)
            await self._passes.wait()
            if data is None or self._sink.is_closing():  # the source broke, or the sink is gone
                raise ConnectionResetError
            if not data:
                if self._sink.can_write_eof():
                    self._sink.write_eof()
                return
            self._sink.write(data)
            await self._sink.drain()
            self._lane.passed += len(data)


async def until(when: float) -> None:
    """Sleep until this loop time."""
    seconds = when - asyncio.get_running_loop().time()
    if seconds > 0:
        await asyncio.sleep(seconds)


class _Requests:
    """Counts requests that are there as a whole."""

    def __init__(self) -> None:
        self.complete = 0

    def on_message_complete(self) -> None:
        self.complete += 1


async def serve_fault(fault: Fault, reader: StreamReader, writer: StreamWriter, up: Lane, down: Lane) -> None:
    """Answer what comes until the caller has enough; after garbage the connection is over."""
    answers = cycle(ANSWERS[fault])
    requests = _Requests()
    parser = httptools.HttpRequestParser(requests)
    while data := await reader.read(up.chunk):
        await _cross(up, len(data))
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return
        for _ in range(requests.complete):
            answer = next(answers)
            await _cross(down, len(answer))
            writer.write(answer)
            await writer.drain()
            if fault == "garbage":
                return
        requests.complete = 0


async def _cross(lane: Lane, size: int) -> None:
    _, arrives = lane.send(size, asyncio.get_running_loop().time())
    await until(arrives)


_RESET: Final = struct.pack("ii", 1, 0)  #: linger for no time: the other side sees a reset, not an orderly end
_BACKLOG: Final = 512


class Link:
    """From a port of this machine to the address `to`; within `async with` it listens.

    The near side is the caller's: up is from it to the far end, down is back. A far end that cannot be connected shows
    as a reset on the near side, since the proxy has taken the connection by then.
    """

    def __init__(
        self,
        to: str,
        shape: LinkShape | None = None,
        *,
        listen: str = "127.0.0.1:0",
        seed: int = 0,
        fault: Fault = "none",
        flap_s: float = 0.5,
    ) -> None:
        """`to` and `listen` are `HOST:PORT`; a link that flaps refuses for `flap_s` and passes for `flap_s` in turn."""
        self._to, self._listen, self._flap_s = _address(to), _address(listen), flap_s
        self._up, self._down = Lane(shape or LinkShape(), 2 * seed), Lane(shape or LinkShape(), 2 * seed + 1)
        self._shape = shape or LinkShape()
        self._fault: Fault = fault
        self._acts: Fault = "none"
        self._passes_up, self._passes_down, self._connects = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flapping: asyncio.Task[None] | None = None
        self._place: socket.socket | None = None
        self._listener: socket.socket | None = None
        self.port = 0
        """Where it listens, once it does."""

    @property
    def url(self) -> str:
        """Address for callers."""
        return f"http://{self._listen[0]}:{self.port}"

    @property
    def shape(self) -> LinkShape:
        """What it does to whatever passes; what is on its way already keeps its time of arrival."""
        return self._shape

    @shape.setter
    def shape(self, shape: LinkShape) -> None:
        self._shape = self._up.shape = self._down.shape = shape

    @property
    def fault(self) -> Fault:
        """What is wrong with it."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        if fault not in FAULTS:
            raise BadConfig(f"fault is {fault!r}; expected one of {', '.join(FAULTS)}")
        self._fault = fault
        if self._flapping:
            self._flapping.cancel()
            self._flapping = None
        if fault == "flap":
            self._flapping = asyncio.get_running_loop().create_task(self._flap())
        else:
            self._act(fault)

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._tasks)

    @property
    def passed(self) -> tuple[int, int]:
        """Bytes delivered to the far end, and from it."""
        return self._up.passed, self._down.passed

    async def __aenter__(self) -> Self:
        # Bound and never listening: the port stays ours while connections to it are refused.
        self._place = _bound((self._listen[0], self._listen[1]))
        self.port = int(self._place.getsockname()[1])
        self.fault = self._fault
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._flapping:
            self._flapping.cancel()
        self._refuse()
        await asyncio.gather(*self._drop(), return_exceptions=True)
        if self._place:
            self._place.close()

    def _act(self, fault: Fault) -> None:
        was, self._acts = self._acts, fault
        if not {was, fault} <= THROUGH:
            self._drop()
        for event, stops in (
            (self._passes_up, {"hang", "cut-up"}),
            (self._passes_down, {"hang", "cut-down"}),
            (self._connects, {"hang"}),
        ):
            event.clear() if fault in stops else event.set()
        self._refuse() if fault == "refuse" else self._accept()

    async def _flap(self) -> None:
        phases: tuple[Fault, ...] = ("refuse", "none")
        for fault in cycle(phases):
            self._act(fault)
            await asyncio.sleep(self._flap_s)

    def _accept(self) -> None:
        if self._listener is None:
            self._listener = _bound((self._listen[0], self.port))
            self._listener.listen(_BACKLOG)
            asyncio.get_running_loop().add_reader(self._listener, self._take)

    def _refuse(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _drop(self) -> list[asyncio.Task[None]]:
        """Reset every open connection."""
        dropped = list(self._tasks)
        for task in dropped:
            task.cancel()
        return dropped

    def _take(self) -> None:
        assert self._listener is not None
        try:
            near, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        near.setblocking(False)
        writers: list[StreamWriter] = []
        task = asyncio.get_running_loop().create_task(self._serve(near, writers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: None if writers else near.close())  # dropped before it began

    async def _serve(self, near: socket.socket, writers: list[StreamWriter]) -> None:
        broken = True
        try:
            reader, writer = await asyncio.open_connection(sock=near)
            writers.append(writer)
            if self._acts in ANSWERS:
                await serve_fault(self._acts, reader, writer, self._up, self._down)
            else:
                await self._forward(reader, writer, writers)
            broken = False
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            for writer in writers:
                await _end(writer, reset=broken)

    async def _forward(self, near: StreamReader, to_near: StreamWriter, writers: list[StreamWriter]) -> None:
        opens = asyncio.get_running_loop().time() + self._shape.round_trip_s
        await self._connects.wait()
        far, to_far = await asyncio.open_connection(*self._to)
        writers.append(to_far)
        async with asyncio.TaskGroup() as group:
            group.create_task(Flow(self._up, near, to_far, self._passes_up, opens).run())
            group.create_task(Flow(self._down, far, to_near, self._passes_down, opens).run())


async def _end(writer: StreamWriter, *, reset: bool) -> None:
    if reset:
        if sock := writer.get_extra_info("socket"):  # none where the transport is closed already
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
    try:
        writer.close()
        await writer.wait_closed()
    except OSError:
        pass
    except asyncio.CancelledError:
        writer.transport.abort()


def _address(text: str) -> tuple[str, int]:
    """Host and port out of `HOST:PORT`, with or without `http://`."""
    host, _, port = text.removeprefix("http://").rstrip("/").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise BadConfig(f"address is {text!r}; expected one like 127.0.0.1:8001")
    return host, int(port)


def _bound(where: tuple[str, int]) -> socket.socket:
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(where)
    except OSError as error:
        bound.close()
        raise BadConfig(f"cannot listen on {where[0]}:{where[1]} ({error.strerror})") from error
    bound.setblocking(False)
    return bound
