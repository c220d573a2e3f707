"""The proxy on real sockets: what passes, in which order, and what each fault does to it."""

import asyncio
import os
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx
import pytest

from ddnn.errors import BadConfig
from ddnn.links import LinkShape
from ddnn_lab.links import Fault, Link

PATIENCE_S = 20


@dataclass
class Far:
    """A far end that sends everything back, and counts."""

    port: int = 0
    came: int = 0
    open: int = 0
    ends: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.came += 1
        self.open += 1
        self.idle.clear()
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.open -= 1
            if not self.open:
                self.idle.set()


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    far = Far()
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0)
    far.port = server.sockets[0].getsockname()[1]
    async with server:
        yield far
        async with asyncio.timeout(PATIENCE_S):
            while far.open:
                await far.idle.wait()


@pytest.fixture
async def link(far: Far) -> AsyncIterator[Link]:
    async with Link(f"127.0.0.1:{far.port}") as link:
        yield link


@dataclass
class Caller:
    """A connection to the link."""

    reader: StreamReader
    writer: StreamWriter

    async def ask(self, data: bytes = b"hello") -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            self.writer.write(data)
            _, back = await asyncio.gather(self.writer.drain(), self.reader.readexactly(len(data)))
            return back

    async def is_reset(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.reader.read(1)
        except ConnectionResetError:
            return True
        return False


@asynccontextmanager
async def call(link: Link) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_what_goes_in_comes_back_whole_and_in_order(link: Link) -> None:
    data = os.urandom(3_000_000)
    async with call(link) as caller, call(link) as beside:
        big, small = await asyncio.gather(caller.ask(data), beside.ask())
    assert (big == data, small) == (True, b"hello")
    assert link.passed == (len(data) + 5, len(data) + 5)


async def test_bytes_take_their_way_and_a_connection_costs_a_round_trip(link: Link) -> None:
    link.shape = LinkShape(round_trip_s=0.1, bits_per_s=800_000)
    now = asyncio.get_running_loop().time
    start = now()
    async with call(link) as caller:
        await caller.ask(bytes(5000))
        first, start = now() - start, now()
        await caller.ask(bytes(5000))
    assert first > 0.1 + 0.1 + 0.05 - 1e-3, "to connect, there and back, 40 kbit at 800 kbit/s"
    assert now() - start > 0.1 + 0.05 - 1e-3


async def test_whoever_sends_more_than_the_link_holds_is_held_back(link: Link) -> None:
    link.fault = "cut-up"
    data = bytes(40 << 20)
    async with call(link) as caller:
        asking = asyncio.create_task(caller.ask(data))
        assert not (await asyncio.wait([asking], timeout=0.3))[0]
        assert caller.writer.transport.get_write_buffer_size() > len(data) / 2
        link.fault = "none"
        assert await asking == data


@pytest.mark.parametrize("fault", ["hang", "cut-up", "cut-down"])
async def test_a_silent_link_takes_connections_and_delivers_when_it_is_well(link: Link, far: Far, fault: Fault) -> None:
    async with call(link) as before:
        await before.ask()
        link.fault = fault
        async with call(link) as after:
            waiting = [asyncio.create_task(caller.ask(b"later")) for caller in (before, after)]
            assert not (await asyncio.wait(waiting, timeout=0.2))[0]
            assert link.passed == ((15, 5) if fault == "cut-down" else (5, 5))
            assert far.came == (1 if fault == "hang" else 2)
            link.fault = "none"
            assert await asyncio.gather(*waiting) == [b"later", b"later"]


async def test_a_link_that_refuses_resets_what_is_open_and_comes_back_on_the_same_port(link: Link) -> None:
    port = link.port
    async with call(link) as caller:
        await caller.ask()
        link.fault = "refuse"
        assert await caller.is_reset()
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
    link.fault = "none"
    async with call(link) as caller:
        assert await caller.ask() == b"hello"
    assert link.port == port


async def test_a_flapping_link_refuses_and_passes_in_turn(far: Far) -> None:
    seen: list[bool] = []
    async with Link(f"127.0.0.1:{far.port}", fault="flap", flap_s=0.02) as link, asyncio.timeout(PATIENCE_S):
        while len(seen) < 4:
            try:
                async with call(link) as caller:
                    passes = await caller.ask() == b"hello"
            except (ConnectionError, asyncio.IncompleteReadError):
                passes = False
            if not seen or seen[-1] is not passes:
                seen.append(passes)
    assert seen in ([True, False] * 2, [False, True] * 2)


async def test_errors_and_nonsense_are_answered_to_every_request_without_the_far_end(link: Link, far: Far) -> None:
    async def answers(fault: Fault, count: int) -> list[httpx.Response]:
        link.fault = fault
        async with httpx.AsyncClient(base_url=link.url, trust_env=False, timeout=PATIENCE_S) as client:
            return [await client.post("/", content=bytes(200_000)) for _ in range(count)]

    assert [answer.status_code for answer in await answers("error500", 3)] == [500] * 3
    nonsense = await answers("nonsense", 6)
    assert {answer.status_code for answer in nonsense} == {200}
    assert len({answer.content for answer in nonsense}) == 5
    with pytest.raises(httpx.RemoteProtocolError):
        await answers("garbage", 1)
    assert far.came == 0


async def test_a_far_end_that_is_gone_shows_as_a_reset() -> None:
    with socket.socket() as nobody:  # bound, not listening
        nobody.bind(("127.0.0.1", 0))
        async with Link(f"127.0.0.1:{nobody.getsockname()[1]}") as link, call(link) as caller:
            assert await caller.is_reset()


async def test_half_a_close_passes(link: Link) -> None:
    async with call(link) as caller:
        await caller.ask()
        caller.writer.write_eof()
        async with asyncio.timeout(PATIENCE_S):
            assert await caller.reader.read() == b""


async def test_leaving_closes_everything(far: Far) -> None:
    async with AsyncExitStack() as stack:
        async with Link(f"127.0.0.1:{far.port}") as link:
            callers = [await stack.enter_async_context(call(link)) for _ in range(3)]
            await callers[0].ask()
            link.fault = "hang"
        assert link.connections == 0
        assert [await caller.is_reset() for caller in callers] == [True] * 3
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", link.port)


async def test_what_is_no_address_or_no_fault_is_refused(link: Link) -> None:
    with pytest.raises(BadConfig, match="address is 'nowhere'"):
        Link("nowhere")
    with pytest.raises(BadConfig, match="fault is 'fire'"):
        link.fault = "fire"  # type: ignore[assignment]
    with pytest.raises(BadConfig, match=r"cannot listen on 192\.0\.2\.1:9"):
        await Link("127.0.0.1:1", listen="192.0.2.1:9").__aenter__()
