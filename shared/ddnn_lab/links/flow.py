"""What one connection sends one way: read, let through the lane, written at the other end in the same order."""

import asyncio
from asyncio import StreamReader, StreamWriter
from typing import Final

from ddnn_lab.links.lane import Lane

__all__ = ["Flow", "until"]

_MOST_CHUNKS: Final = 64
"""On their way at once; whoever sends more waits."""
_AHEAD_S: Final = 0.005
"""So much may stand before the lane, or it would idle whenever the loop wakes up late."""


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
