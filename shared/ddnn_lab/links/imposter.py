"""Whoever answers instead of the far end: every request gets the same kind of nonsense."""

import asyncio
from asyncio import StreamReader, StreamWriter
from itertools import cycle

import httptools

from ddnn_lab.links.fault import ANSWERS, Fault
from ddnn_lab.links.flow import until
from ddnn_lab.links.lane import Lane

__all__ = ["impersonate"]


class _Requests:
    """Counts requests that are there as a whole."""

    def __init__(self) -> None:
        self.complete = 0

    def on_message_complete(self) -> None:
        self.complete += 1


async def impersonate(fault: Fault, reader: StreamReader, writer: StreamWriter, up: Lane, down: Lane) -> None:
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
