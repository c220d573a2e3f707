"""One connection as frames: what is written in one turn of the loop goes out together, and what comes is cut."""

import asyncio
from abc import abstractmethod
from typing import cast

from ddnn.errors import BadInput
from ddnn.stream.frames import Cut

__all__ = ["Line"]


class Line(asyncio.Protocol):
    """Either end of a stream, once the connection is one."""

    transport: asyncio.Transport | None = None

    def __init__(self, most: int) -> None:
        """A frame that comes has at most `most` bytes."""
        self.cut = Cut(most)
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
        try:
            for kind, payload in self.cut.feed(data):
                self.take(kind, payload)
        except BadInput as error:
            self.nonsense(error)

    def flush(self) -> None:
        """Write what is there now."""
        self._flush()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self.transport and not self.transport.is_closing():
            data = b"".join(out)
            self.sent += len(data)
            self.transport.write(data)
