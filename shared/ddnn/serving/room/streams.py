"""Those who look at the page: a bounded number of streams of server-sent events, each with a bounded queue."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import orjson

from ddnn.errors import Unavailable

__all__ = ["MOST_STREAMS", "Message", "Stream", "Streams", "named"]

MOST_STREAMS: Final = 16
_MOST_WAITING: Final = 64  #: messages, after which a reader that is this slow is dropped

Message = dict[str, str]


class Stream:
    """One reader's messages."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue(_MOST_WAITING)
        self.dropped = False  #: as it was too slow

    def put(self, message: Message) -> None:
        """Add a message; a reader that has not taken those before is dropped."""
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            self.dropped = True
            self.close()

    def close(self) -> None:
        """End it; what waits is not sent any more."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def messages(self) -> AsyncIterator[Message]:
        """Each message as it comes, until the end."""
        while (message := await self._queue.get()) is not None:
            yield message


class Streams:
    """All of them."""

    def __init__(self, most: int = MOST_STREAMS) -> None:
        self._most, self._ended = most, False
        self._open: dict[Stream, None] = {}
        self.opened = asyncio.Event()  #: set while there is one

    def __len__(self) -> int:
        return len(self._open)

    def refuse_more(self) -> None:
        """Raise `Unavailable` where there are enough."""
        if self._ended:
            raise Unavailable("this server is shutting down")
        if len(self._open) >= self._most:
            raise Unavailable(f"{len(self._open)} pages look at this fleet already; close one, or look again later")

    def open(self) -> Stream:
        """One more reader; raise `Unavailable` where there are enough."""
        self.refuse_more()
        self._open[stream := Stream()] = None
        self.opened.set()
        return stream

    def leave(self, stream: Stream) -> None:
        """A reader has gone."""
        self._open.pop(stream, None)
        if not self._open:
            self.opened.clear()

    def publish(self, kind: str, document: Mapping[str, Any] | Sequence[Any]) -> None:
        """Send all of them a message."""
        if self._open:
            message = named(kind, document)
            for stream in list(self._open):
                stream.put(message)
                if stream.dropped:
                    self.leave(stream)

    def close(self) -> None:
        """End all of them, and take no more."""
        self._ended = True
        for stream in list(self._open):
            stream.close()
            self.leave(stream)


def named(kind: str, document: Mapping[str, Any] | Sequence[Any]) -> Message:
    """A message of a kind."""
    return {"event": kind, "data": orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS).decode()}
