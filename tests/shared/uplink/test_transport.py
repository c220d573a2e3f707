"""Requests over real sockets: kept connections, large bodies, nothing added that was not asked for."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ddnn.uplink import NoReply
from ddnn.uplink.transport import OverAiohttp


class Server:
    """Answers each request with the length of its body, and notes what it saw."""

    def __init__(self) -> None:
        self.connections, self.heads = 0, list[dict[str, str]]()
        self.closes_after = 0
        """Connections are closed after so many answers; 0 = never."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        answered = 0
        try:
            while not self.closes_after or answered < self.closes_after:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                self.heads.append(headers)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                said = str(len(body)).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nX-Said: Yes\r\ncontent-length: %d\r\n\r\n%b" % (len(said), said))
                answered += 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str, OverAiohttp]]:
    told = Server()
    listening = await asyncio.start_server(told.serve, "127.0.0.1", 0, limit=4 << 20)
    port = listening.sockets[0].getsockname()[1]
    transport = OverAiohttp(connections=4, keepalive_s=4.0, trusted=False)
    yield told, f"http://127.0.0.1:{port}/path", transport
    await transport.aclose()
    listening.close()


async def post(transport: OverAiohttp, url: str, body: bytes, **headers: str) -> tuple[int, bytes, str | None]:
    received = await transport.exchange("POST", url, headers=headers, body=body, connect_s=5, most=1000)
    return received.status, received.body, received.headers.get("x-said")


async def test_requests_follow_each_other_on_one_connection(server: tuple[Server, str, OverAiohttp]) -> None:
    told, url, transport = server
    for length in (0, 1, 70_000):
        assert await post(transport, url, b"x" * length) == (200, str(length).encode(), "Yes")
    assert told.connections == 1


async def test_a_body_of_megabytes_goes_out_whole(server: tuple[Server, str, OverAiohttp]) -> None:
    told, url, transport = server
    assert (await post(transport, url, b"x" * (3 << 20)))[1] == str(3 << 20).encode()
    assert told.heads[0]["content-length"] == str(3 << 20)


async def test_only_what_was_asked_for_is_in_the_head(server: tuple[Server, str, OverAiohttp]) -> None:
    told, url, transport = server
    await post(transport, url, b"x", **{"accept-encoding": "identity", "x-mine": "1"})
    assert told.heads[0].keys() == {"host", "accept-encoding", "x-mine", "content-length"}


async def test_a_connection_that_closed_while_it_was_kept_may_be_tried_again(
    server: tuple[Server, str, OverAiohttp],
) -> None:
    told, url, transport = server
    told.closes_after = 1
    for _ in range(3):
        try:
            given = await post(transport, url, b"x")
        except NoReply as failure:
            assert (failure.reason, failure.again) == ("unreachable", True)  # noqa: PT017
            given = await post(transport, url, b"x")
        assert given[0] == 200
    assert told.connections >= 3


async def test_a_name_that_cannot_be_one_is_unreachable() -> None:
    transport = OverAiohttp(connections=4, keepalive_s=4.0, trusted=False)
    with pytest.raises(NoReply) as caught:
        await post(transport, f"http://{'a' * 80}.invalid/", b"x")
    assert caught.value.reason == "unreachable"
    await transport.aclose()
