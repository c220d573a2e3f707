"""Heads that are too large, too many or no HTTP at all, over real sockets; and responses that go out in one piece."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import orjson
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ddnn.serving import connection
from ddnn_lab.in_process import Fleet
from real_port import reply, serving

DEVICES = [0]
REQUEST = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture
async def port(fleet: Fleet) -> AsyncIterator[int]:
    async with serving(fleet.switch.apps["device-0"]) as port:
        yield port


@pytest.mark.parametrize("path", [b"other/infer", b"ddnn/versions/7/infer"])
async def test_the_token_is_checked_before_the_model_is_looked_for_and_both_are_counted(
    fleet: Fleet, path: bytes
) -> None:
    fleet.settings["token"] = "s3cret-of-the-tiers"
    fleet.start()
    app = fleet.switch.apps["device-0"]
    ask = b"POST /v2/models/" + path + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n"
    async with serving(app) as port:
        assert (await reply(port, ask + b"\r\n{}")).startswith(b"HTTP/1.1 401")
        head, _, body = (await reply(port, ask + b"authorization: Bearer s3cret-of-the-tiers\r\n\r\n{}")).partition(
            b"\r\n\r\n"
        )
    assert head.startswith(b"HTTP/1.1 404")
    assert "is unknown; expected" in orjson.loads(body)["error"]
    text = app.state.service.metrics.text()
    assert all(b'ddnn_requests_total{code="%d"} 1.0' % code in text for code in (401, 404))


@pytest.mark.parametrize(
    "head",
    [
        REQUEST + b"x: " + b"a" * 70_000 + b"\r\n\r\n",
        REQUEST + b"".join(b"x%d: 1\r\n" % n for n in range(200)) + b"\r\n",
        b"\x16\x03\x01 this is TLS\r\n\r\n",
        b"GET\r\n\r\n",
    ],
)
async def test_a_head_that_is_too_much_or_no_http_is_400_with_the_one_error_body(port: int, head: bytes) -> None:
    status, _, body = (await reply(port, head)).partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 400")
    document = orjson.loads(body)
    assert set(document) == {"error", "code", "request_id", "tier", "retryable"}
    assert "100 headers" in document["error"]


async def test_a_header_without_end_is_cut_off_before_it_is_kept(port: int) -> None:
    given = await reply(port, REQUEST + b"x: ", *[b"a" * 65_536] * 64)
    assert given == b"closed" or given.startswith(b"HTTP/1.1 400")


async def test_a_head_counts_the_same_in_however_many_parts_it_comes(port: int) -> None:
    lines = [b"x%d: %b\r\n" % (n, b"a" * 3000) for n in range(10)]
    parts = [REQUEST, *lines, b"connection: close\r\n\r\n"]
    assert (await reply(port, b"".join(parts))).startswith(b"HTTP/1.1 200")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        for _ in range(9):
            await asyncio.sleep(0)
    async with asyncio.timeout(30):
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_head_that_does_not_come_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_SECONDS", 0.05)
    assert await reply(port) == b""
    assert await reply(port, b"GET /v2") == b""


async def test_ordinary_requests_follow_each_other_on_one_connection(port: int) -> None:
    given = await reply(port, REQUEST + b"\r\n", REQUEST + b"connection: close\r\n\r\n")
    assert given.count(b"HTTP/1.1 200") == 2


HEAD, BODY, MORE = b"HTTP/1.1 200 OK\r\n\r\n", b"body", b"more"


class Cycle:
    """A response, as far as it is looked at."""

    response_started = False


class Wire:
    """Notes what reaches the kernel."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.closed = False
        self.cycle: Cycle | None = None
        self.transport = connection.OneWrite(cast(asyncio.Transport, self), cast(HttpToolsProtocol, self))

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def writelines(self, parts: Any) -> None:
        self.calls.append(b"".join(parts))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.fixture
def wire() -> Wire:
    return Wire()


def begin(wire: Wire) -> None:
    wire.cycle = Cycle()
    wire.cycle.response_started = True
    wire.transport.write(HEAD)


def test_head_and_body_go_out_together_and_what_follows_at_once(wire: Wire) -> None:
    for _ in range(2):
        begin(wire)
        wire.transport.write(BODY)
        wire.transport.write(MORE)
    assert wire.calls == [HEAD + BODY, MORE] * 2


def test_what_is_no_response_goes_out_at_once(wire: Wire) -> None:
    wire.transport.write(HEAD)
    wire.cycle = Cycle()
    wire.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert wire.calls == [HEAD, b"HTTP/1.1 100 Continue\r\n\r\n"]


def test_a_head_without_a_body_goes_out_before_the_connection_closes(wire: Wire) -> None:
    begin(wire)
    assert wire.calls == []
    wire.transport.close()
    assert wire.calls == [HEAD]
    assert wire.transport.is_closing()
