"""A TCP proxy between two tiers whose shape and faults change while it runs."""

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from itertools import cycle
from typing import Final, Self

from ddnn.errors import BadConfig
from ddnn.links import Shape
from ddnn_lab.links.fault import ANSWERS, FAULTS, THROUGH, Fault
from ddnn_lab.links.flow import Flow
from ddnn_lab.links.imposter import impersonate
from ddnn_lab.links.lane import Lane

__all__ = ["Link"]

_RESET: Final = struct.pack("ii", 1, 0)
"""Linger for no time: the other side sees a reset, not an orderly end."""
_BACKLOG: Final = 512


class Link:
    """From a port of this machine to the address `to`; within `async with` it listens.

    The near side is the caller's: up is from it to the far end, down is back. A far end that cannot be connected shows
    as a reset on the near side, since the proxy has taken the connection by then.
    """

    def __init__(
        self,
        to: str,
        shape: Shape | None = None,
        *,
        listen: str = "127.0.0.1:0",
        seed: int = 0,
        fault: Fault = "none",
        flap_s: float = 0.5,
    ) -> None:
        """`to` and `listen` are `HOST:PORT`; a link that flaps refuses for `flap_s` and passes for `flap_s` in turn."""
        self._to, self._listen, self._flap_s = _address(to), _address(listen), flap_s
        self._up, self._down = Lane(shape or Shape(), 2 * seed), Lane(shape or Shape(), 2 * seed + 1)
        self._shape = shape or Shape()
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
    def shape(self) -> Shape:
        """What it does to whatever passes; what is on its way already keeps its time of arrival."""
        return self._shape

    @shape.setter
    def shape(self, shape: Shape) -> None:
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
                await impersonate(self._acts, reader, writer, self._up, self._down)
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
