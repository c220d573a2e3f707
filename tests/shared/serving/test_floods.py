"""Heads without bodies, connections that ask for nothing, handshakes without an end: the others are served."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import numpy as np
import orjson
import pytest

from ddnn.identity import Identity
from ddnn.identity.authority import Authority
from ddnn.serving import connection, secure
from ddnn.serving.doors import Doors
from ddnn.types import Tier
from ddnn.wire import encode_request
from ddnn_lab.in_process import INFER, Fleet
from real_port import OTHER, PATIENCE_S, ask, post, reply, serving, until, whole

DEVICES = [0]
CONNECTIONS, FLOOD = 40, 200
GET = b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n"


@asynccontextmanager
async def flood(
    port: int, count: int, first: bytes = b"", source: str = OTHER
) -> AsyncIterator[list[asyncio.StreamReader]]:
    """So many connections from an address, each of which has sent so much, open until the end of the block."""
    pairs = []
    for _ in range(count):
        pairs.append(await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)))
        pairs[-1][1].write(first)
    yield [reader for reader, _ in pairs]
    for _, writer in pairs:
        writer.close()


def view(fleet: Fleet) -> tuple[bytes, dict[str, str]]:
    return encode_request({"view": fleet.view(0, slice(0, 1))})


@pytest.fixture
async def device(fleet: Fleet) -> AsyncIterator[int]:
    """A device behind a real port, with few places."""
    fleet.settings |= {"max_in_flight": 64, "max_connections": CONNECTIONS, "max_deadline_ms": 2000}
    fleet.start()
    async with serving(fleet.switch.apps["device-0"]) as port:
        yield port


async def test_heads_without_a_body_hold_no_place(fleet: Fleet, device: int) -> None:
    fleet.switch.apps["device-0"].state.doors = Doors(4096)
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nx-ddnn-deadline-ms: 600000\r\n\r\n".encode()
    service = fleet.switch.apps["device-0"].state.service
    async with flood(device, FLOOD, head, source="127.0.0.1"):
        await until(lambda: service.in_flight == FLOOD)
        body, headers = view(fleet)
        assert (await post(device, body, **headers)).status == 200


async def test_a_deadline_from_outside_is_the_longest_there_is_at_most(fleet: Fleet, device: int) -> None:
    fleet.switch.apps["device-0"].state.service.settings.__dict__["max_deadline_ms"] = 2000
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nx-ddnn-deadline-ms: 600000\r\n\r\n".encode()
    assert (await reply(device, head)).startswith(b"HTTP/1.1 504")


@pytest.mark.parametrize("path", ["/v2/policy", "/livez"])
async def test_a_body_that_does_not_come_is_not_waited_for_on_any_route(device: int, path: str) -> None:
    given = await reply(device, f"PUT {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf".encode())
    assert given.startswith((b"HTTP/1.1 504", b"HTTP/1.1 405", b"HTTP/1.1 403"))


async def test_callers_that_wait_for_long_leave_places_to_others(fleet: Fleet) -> None:
    fleet.settings["max_in_flight"] = 8
    fleet.devices = None
    fleet.start()
    fleet.use(wait_ms=1000)
    edge = fleet.switch.apps["edge"].state.service
    scores = fleet.bundle.golden["device_scores"][:1, 0]
    requests = []
    for n in range(FLOOD):
        inputs = {"event": np.array([b"held %d" % n], np.object_), "scores": scores}
        body, headers = encode_request(inputs, parameters={"device": 0, "wait_ms": 600_000})
        requests.append(whole(body, {**headers, "x-ddnn-deadline-ms": "600000"}))
    async with serving(fleet.switch.apps["edge"]) as port, AsyncExitStack() as stack:
        for request in requests:
            await stack.enter_async_context(flood(port, 1, request))
        await until(lambda: edge.collector.pending > 0 and edge.in_flight == edge.collector.pending)
        assert edge.in_flight < edge.room
        answers = [row for rows in await fleet.see() for row in rows]
        assert {(row.exit, row.degraded, row.devices.all().item()) for row in answers} == {("cloud", False, True)}


async def test_idle_connections_keep_neither_others_nor_probes_out(fleet: Fleet, device: int) -> None:
    body, headers = view(fleet)
    async with flood(device, FLOOD):
        assert (await post(device, body, **headers)).status == 200
        sources = [f"127.0.0.{n}" for n in range(3, 30)]
        async with AsyncExitStack() as stack:
            for source in sources:
                await stack.enter_async_context(flood(device, FLOOD // 10, source=source))
            replies = await ask(device, ("GET", "/readyz"))
            replies += await ask(device, ("GET", "/metrics"))
            assert [each.status for each in replies] == [200, 200]
            assert replies[0].headers["connection"] == "close"
            refused = await post(device, body, **headers)
            assert (refused.status, "connections are open here" in refused.error) == (503, True)


async def test_a_connection_too_many_that_asks_for_nothing_is_told_so(
    device: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_PROBE_S", 0.05)
    async with flood(device, FLOOD) as readers, asyncio.timeout(PATIENCE_S):
        given = [await reader.read() for reader in readers[CONNECTIONS : CONNECTIONS + 1]]
    assert not given[0] or b" 503 " in given[0]


async def test_an_answer_that_is_not_read_is_given_up(device: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_UNREAD_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", device, limit=1024)
    with suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE_S):
            while True:
                writer.write(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0)
    assert writer.transport.is_closing() or reader.at_eof() or reader.exception()
    writer.close()


async def test_requests_that_come_before_the_first_is_answered_are_few_and_small(device: int) -> None:
    many = await reply(device, GET * 1000)
    assert many.count(b"HTTP/1.1 200") < 100
    head = b"POST /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"
    assert b" 405 " not in await reply(device, GET + head + b"x" * 100_000)


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    authority = Authority.create(tmp_path, "site")
    authority.issue(Tier.DEVICE, 0, days=1)
    return Identity(tmp_path / "device-0", Tier.DEVICE, 0)


@pytest.fixture
async def secured(fleet: Fleet, identity: Identity) -> AsyncIterator[int]:
    """A device behind a real port with TLS."""
    async with serving(fleet.switch.apps["device-0"], identity.server) as port:
        yield port


class Caller:
    """One connection over TLS, step by step."""

    def __init__(self, tmp_path: Path) -> None:
        context = ssl.create_default_context(cafile=tmp_path / "authority.pem")
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname="localhost")

    async def connect(self, port: int) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    self.tls.do_handshake()
                except ssl.SSLWantReadError:
                    self.flush()
                    self._in.write(await self.reader.read(1 << 16))
                else:
                    break

    def flush(self) -> None:
        self.writer.write(self._out.read())

    def end(self) -> None:
        """Say that no more is sent."""
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.flush()

    async def rest(self) -> bytes:
        """What comes until the other end says the same."""
        text = b""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    data = self.tls.read(1 << 16)
                except ssl.SSLZeroReturnError:
                    return text
                except ssl.SSLWantReadError:
                    self._in.write(came := await self.reader.read(1 << 16))
                    if not came:
                        return text
                else:
                    text += data
                    if not data:
                        return text


@pytest.mark.parametrize("by_tcp", [False, True])
async def test_a_caller_over_tls_that_sends_no_more_is_answered(
    fleet: Fleet, secured: int, tmp_path: Path, by_tcp: bool
) -> None:
    caller = Caller(tmp_path)
    await caller.connect(secured)
    caller.tls.write(whole(*view(fleet)))
    caller.flush()
    if by_tcp:
        caller.writer.write_eof()
    else:
        caller.end()
    head, _, _ = (await caller.rest()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in head.lower()
    caller.writer.close()


async def test_handshakes_without_an_end_keep_no_other_out(
    fleet: Fleet, secured: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors = fleet.switch.apps["device-0"].state.doors
    async with flood(secured, 4 * FLOOD):
        await until(lambda: doors.connections.held == doors.handshakes.held == 192)
        caller = Caller(tmp_path)
        await caller.connect(secured)
        caller.tls.write(GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        caller.flush()
        assert (await caller.rest()).startswith(b"HTTP/1.1 200")
        caller.writer.close()
    await until(lambda: not doors.connections.held)
    monkeypatch.setattr(secure, "_HANDSHAKE_S", 0.05)
    assert await reply(secured) in (b"", b"closed")
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70_000):
        assert b"HTTP" not in await reply(secured, nonsense)
    await until(lambda: not (doors.connections.held or doors.handshakes.held))


async def test_what_is_large_comes_and_goes_whole_over_tls(fleet: Fleet, secured: int, tmp_path: Path) -> None:
    caller = Caller(tmp_path)
    await caller.connect(secured)
    body, headers = encode_request({"view": np.repeat(fleet.view(0, slice(0, 1)), 4000, axis=0)}, binary_output=False)
    caller.tls.write(whole(body, {**headers, "connection": "close", "x-ddnn-deadline-ms": "30000"}))
    caller.flush()
    head, _, text = (await caller.rest()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), text[:300]
    assert len(orjson.loads(text)["outputs"][0]["data"]) == 4000
    caller.writer.close()
