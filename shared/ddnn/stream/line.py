"""One connection as frames: what is written in one turn of the loop goes out together, and what comes is cut."""

import asyncio
from abc import abstractmethod
from collections.abc import Iterator
from itertools import chain
from time import thread_time
from typing import Final, cast

from ddnn.errors import BadInput
from ddnn.stream.frames import Cut

__all__ = ["Line"]

_TURN_S: Final = 0.005  #: of CPU, that the frames of one connection may take at once


class Line(asyncio.Protocol):
    """Either end of a stream, once the connection is one."""

    transport: asyncio.Transport | None = None

    def __init__(self, most: int, others: int = 0) -> None:
        """A frame that comes has at most `most` bytes; `others` connections have as much of the loop as this one."""
        self.cut = Cut(most)
        self._others = others
        self._later: Iterator[tuple[int, bytes]] | None = None  # frames that have come and wait for their turn
        self.heard = 0.0  #: loop time of what came last
        self.sent = self.received = 0  #: bytes
        self._out: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    @abstractmethod
    def take(self, kind: int, payload: bytes) -> None:
        """A frame has come; raise `BadInput` where it makes no sense, which ends the connection."""

    @abstractmethod
    def nonsense(self, error: BadInput) -> None:
        """What came was none."""

    def begin(self, transport: asyncio.BaseTransport) -> None:
        """The connection is a stream from now on."""
        self.transport = cast(asyncio.Transport, transport)
        self.heard = self._loop.time()
        if self._out:
            self._loop.call_soon(self._flush)

    def send(self, frame: bytes) -> None:
        """Write a frame, with all others of this turn of the loop."""
        self._out.append(frame)
        if len(self._out) == 1 and self.transport:
            self._loop.call_soon(self._flush)

    def data_received(self, data: bytes) -> None:
        self.heard = self._loop.time()
        self.received += len(data)
        began = thread_time()
        try:
            frames = iter(self.cut.feed(data))
        except BadInput as error:
            self.nonsense(error)
            return
        if self._later is None:
            self._take_all(frames, began)
        else:  # the transport had them already when it was told to pause
            self._later = chain(self._later, frames)

    def _take_all(self, frames: Iterator[tuple[int, bytes]], began: float) -> None:
        """Take frames for a turn; the rest when all others have had one as long, and nothing is read until then."""
        took = 0.0  # of CPU: a connection is not to pay for what else the machine does
        try:
            for frame in frames:
                if took > _TURN_S:
                    self._wait(took, chain((frame,), frames))
                    return
                self.take(*frame)
                took = thread_time() - began
        except BadInput as error:
            self.nonsense(error)

    def _wait(self, took: float, frames: Iterator[tuple[int, bytes]]) -> None:
        if self.transport and not self.transport.is_closing():
            self._later = frames
            self.transport.pause_reading()
            self._loop.call_later(took * self._others, self._go_on)

    def _go_on(self) -> None:
        frames, self._later = self._later, None
        if frames and self.transport and not self.transport.is_closing():
            self.transport.resume_reading()
            self._take_all(frames, thread_time())

    def flush(self) -> None:
        """Write what is there now."""
        self._flush()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self.transport and not self.transport.is_closing():
            data = b"".join(out)
            self.sent += len(data)
            self.transport.write(data)
