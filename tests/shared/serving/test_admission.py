"""Who is refused before a byte of the body is read, and what a refusal leaves behind."""

import asyncio
import gc
from collections.abc import AsyncIterator, Mapping
from time import monotonic
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from starlette.types import Message

from ddnn.errors import DeadlineExceeded, Overloaded
from ddnn.serving.admission import Admission, Seat
from ddnn.serving.connection import BoundedHeads
from ddnn.serving.lag import LoopLag
from ddnn.serving.metrics import Metrics
from ddnn.settings import Settings
from ddnn.types import Exit
from ddnn.wire import encode_request
from ddnn_lab.in_process import INFER, Fleet
from real_port import serving, until

DEVICES = [0]
EVENT = np.array([b"e"], np.object_)


class Door:
    """An admission of its own, before a queue with a wait that the test sets."""

    def __init__(self, *, room: int = 2, **settings: Any) -> None:
        self.metrics, self.wait_s = Metrics(Exit, ()), 0.0
        self.admission = Admission(Settings(**settings), self.metrics, room=room, queues=[self], lag=LoopLag())

    def admit(self, waited: float = 0.0, budget_ms: float | None = None, **headers: object) -> Seat:
        given: Mapping[bytes, bytes] = {
            name.replace("_", "-").encode(): str(value).encode() for name, value in headers.items()
        }
        return self.admission.admit(given, monotonic() - waited, budget_ms)

    def let_in(self, size: int) -> Seat:
        """A request with its body."""
        seat = self.admit(content_length=size)
        seat.take(size)
        seat.sit()
        return seat

    def shed(self, reason: str) -> float:
        value = self.metrics.registry.get_sample_value("ddnn_shed_total", {"reason": reason})
        assert value is not None
        return value


def test_one_request_more_than_there_is_room_for_is_refused_until_another_leaves() -> None:
    door = Door(room=2)
    seats = [door.let_in(1) for _ in range(2)]
    with pytest.raises(Overloaded, match="2 requests"):
        door.admit()
    assert door.shed("in_flight") == 1
    seats[0].leave()
    door.let_in(1)


def test_a_head_holds_no_place_and_a_body_that_finds_none_is_refused() -> None:
    door = Door(room=2)
    heads = [door.admit(content_length=1) for _ in range(9)]
    assert (door.admission.requests.held, door.admission.bytes.held) == (0, 0)
    for seat in heads[:2]:
        seat.sit()
    with pytest.raises(Overloaded, match="2 requests"):
        heads[2].sit()
    for seat in heads:
        seat.leave()
    assert door.admission.requests.held == 0


def test_bodies_are_bounded_as_a_sum_but_one_alone_is_let_in() -> None:
    door = Door(room=9, max_in_flight_bytes=10_000)
    large = door.let_in(1 << 20)
    with pytest.raises(Overloaded, match="1048576 bytes"):
        door.admit(content_length=1)
    assert (door.shed("bytes"), door.admission.requests.held) == (1, 1)
    large.leave()
    for _ in range(2):
        door.let_in(3500)
    with pytest.raises(Overloaded):
        door.admit(content_length=5000)


def test_a_packed_body_counts_as_large_as_it_becomes_and_events_as_what_they_need() -> None:
    door = Door(room=9, max_in_flight_bytes=100_000)
    other, packed = door.let_in(1), door.let_in(100)
    packed.unpacked(60_000)
    packed.rows(2)
    assert door.admission.bytes.held == 64_001
    with pytest.raises(Overloaded):
        packed.rows(20)
    packed.leave()
    other.leave()
    assert door.admission.bytes.held == 0


def test_bytes_are_counted_as_they_come_and_given_back() -> None:
    door = Door(room=9, max_in_flight_bytes=10_000)
    other, coming = door.let_in(2000), door.admit(transfer_encoding="chunked")
    coming.take(5000)
    with pytest.raises(Overloaded):
        coming.take(5000)
    coming.leave()
    assert door.admission.bytes.held == 2000
    other.leave()
    assert (door.admission.bytes.held, door.admission.requests.held) == (0, 0)


def test_a_wait_that_would_outlast_the_deadline_is_refused_at_once_and_says_for_how_long() -> None:
    door = Door(deadline_ms=2000)
    door.wait_s = 2.5
    with pytest.raises(Overloaded, match="2500 ms"):
        door.admit()
    with pytest.raises(Overloaded, match="ask again in 3 s"):
        door.admit(budget_ms=1000)
    door.admit(budget_ms=3500)
    with pytest.raises(Overloaded):  # it would be run, and too late
        door.admit(budget_ms=2600)
    assert (door.shed("deadline"), door.admission.retry_after()) == (3, 3)


def test_what_a_request_has_waited_since_its_first_byte_counts() -> None:
    door = Door()
    door.wait_s = 0.3
    with pytest.raises(Overloaded):
        door.admit(waited=0.8, budget_ms=1000)
    with pytest.raises(DeadlineExceeded):
        door.admit(waited=1.1, budget_ms=1000)
    door.admit(budget_ms=1000)


@pytest.mark.parametrize("deadline", ["soon", "-3", "nan"])
async def test_a_deadline_that_makes_no_sense_is_refused_before_the_body_is_read(fleet: Fleet, deadline: str) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async with fleet.client("device-0") as client:
        headers = {"x-ddnn-deadline-ms": deadline, "content-length": "10"}
        refused = await client.post(INFER, content=unread(), headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "BAD_INPUT")
    assert repr(deadline) in refused.json()["error"]


async def test_the_body_of_what_is_refused_is_not_read_and_probes_are_answered(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Admission, "wait_s", 7.2)

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async with fleet.client("device-0") as client:
        refused = await client.post(INFER, content=unread(), headers={"content-length": "10"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "8")
        assert refused.json()["code"] == "OVERLOADED"
        assert refused.json()["request_id"] == refused.headers["x-request-id"]
        for path in ("/v2/health/live", "/v2/health/ready", "/metrics", "/v2/status", "/v2/policy"):
            assert (await client.get(path)).status_code == 200


async def test_chunks_beyond_the_sum_are_429(fleet: Fleet) -> None:
    fleet.settings["max_in_flight_bytes"] = 2000
    fleet.start()
    fleet.use(wait_ms=60_000)
    body, headers = encode_request(
        {"event": EVENT, "scores": fleet.bundle.golden["device_scores"][:1, 0]}, parameters={"device": 0}
    )

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b" " * 1000

    async with fleet.client("edge") as client:
        waiting = asyncio.create_task(client.post(INFER, content=body, headers=headers))
        await fleet.switch.reached("edge")
        assert (await client.post(INFER, content=chunks())).status_code == 429
        waiting.cancel()


@pytest.fixture
async def served(fleet: Fleet) -> AsyncIterator[tuple[Fleet, int]]:
    """The edge behind a real socket."""
    async with serving(fleet.switch.apps["edge"]) as port:
        yield fleet, port


async def test_a_refusal_leaves_its_connection_usable(
    served: tuple[Fleet, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, port = served
    monkeypatch.setattr(Admission, "wait_s", 7.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n".encode()
    writer.write(head + b"x" * 1_000_000)
    async with asyncio.timeout(30):
        assert b" 429 " in await reader.readline()
        writer.write(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert b"HTTP/1.1 200 " in await reader.read()
    writer.close()


async def test_a_caller_who_leaves_ends_what_only_it_waits_for(served: tuple[Fleet, int]) -> None:
    fleet, port = served
    edge = fleet.switch.apps["edge"].state.service
    inputs = {"event": EVENT, "scores": fleet.bundle.golden["device_scores"][:1, 0]}
    body, headers = encode_request(inputs, parameters={"device": 0, "wait_ms": 60_000})
    text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\n{text}content-length: {len(body)}\r\n\r\n".encode()
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head + body)
    await until(lambda: edge.collector.pending == 1)
    writer.close()
    await until(lambda: edge.in_flight == 0)
    left = edge.metrics.registry.get_sample_value("ddnn_requests_total", {"code": "499"})
    assert (left, edge.collector.pending) == (1, 1)  # its siblings may still come
    edge.give_up()
    await until(lambda: edge.collector.pending == 0)
    assert [request.url.host for request in fleet.switch.requests] == []
    assert edge.collector.held == 0


async def test_a_connection_that_is_lost_leaves_nothing_for_the_collector(served: tuple[Fleet, int]) -> None:
    fleet, port = served
    edge = fleet.switch.apps["edge"].state.service
    head = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n" % INFER.encode()

    def kept() -> int:
        return sum(type(each) is BoundedHeads for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        for sent in (b"", b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n", head, head + b"not JSON."):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            if sent.endswith(b"."):
                await reader.readline()
            await until(lambda sent=sent: edge.in_flight == (sent == head))  # type: ignore[misc]
            writer.close()
            await writer.wait_closed()
            await until(lambda: edge.in_flight == 0)
        await until(lambda: kept() == 0)
    finally:
        gc.enable()


async def test_a_stamp_in_the_past_is_a_deadline_that_has_passed(fleet: Fleet) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    request = httpx.Request("POST", f"http://edge{INFER}", headers={"x-ddnn-deadline-ms": "1000"})
    scope = {
        "type": "http",
        "method": "POST",
        "path": INFER,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "state": {"arrived": monotonic() - 2},
    }
    await fleet.switch.apps["edge"](scope, receive, send)
    assert sent[0]["status"] == 504
    assert orjson.loads(sent[1]["body"])["code"] == "DEADLINE_EXCEEDED"
