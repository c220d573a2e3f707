"""A response reaches the kernel in one piece, byte for byte what uvicorn wrote."""

import asyncio
from typing import Any, cast

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ddnn.serving.one_write import OneWrite

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
        self.transport = OneWrite(cast(asyncio.Transport, self), cast(HttpToolsProtocol, self))

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
