"""A question waits at the tier above until it has news, and whoever asks is there as long as it waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from ddnn.serving.bulletin import Bulletin
from ddnn.serving.service import Service
from ddnn_lab.in_process import Fleet
from real_port import PATIENCE_S, serving, until


def edge(fleet: Fleet) -> Service:
    found: Service = fleet.switch.apps["edge"].state.service
    return found


@asynccontextmanager
async def held(port: int, service: Service, known: str, device: int = 2) -> AsyncIterator[asyncio.StreamReader]:
    """A connection on which a device's question waits at an edge."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = ["GET /v2/policy HTTP/1.1", "host: x", f"x-ddnn-tier: device/{device}", f"if-none-match: {known}"]
    assert service.below
    lines += [f"x-ddnn-bulletin: {service.below.bulletin.number}", "prefer: wait=300"]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    try:
        await until(lambda: bool(service.below and service.below._waiting[device]))
        yield reader
    finally:
        writer.close()


async def status(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split()[1])


async def test_a_question_is_answered_once_the_policy_is_another(fleet: Fleet) -> None:
    service = edge(fleet)
    async with serving(fleet.switch.apps["edge"]) as port, held(port, service, service.control.etag) as reader:
        service.policy = service.policy.model_copy(update={"version": 7})
        assert await status(reader) == 200


async def test_a_question_is_answered_once_somebody_looks(fleet: Fleet) -> None:
    service = edge(fleet)
    async with serving(fleet.switch.apps["edge"]) as port, held(port, service, service.control.etag) as reader:
        service.reporter.watched = True
        assert await status(reader) == 304


async def test_a_child_is_there_while_its_question_waits_and_gone_once_its_connection_breaks(fleet: Fleet) -> None:
    service = edge(fleet)
    assert service.below
    now = 0.0
    service.below._clock = lambda: now
    async with serving(fleet.switch.apps["edge"]) as port:
        async with held(port, service, service.control.etag):
            now = 100.0
            assert service.below.alive()[2]
            assert not service.below.alive()[3]
        await until(lambda: bool(service.below and not service.below._waiting[2]))
        now = 110.0
        assert not service.below.alive()[2]


async def test_a_tier_that_ends_keeps_no_question(fleet: Fleet) -> None:
    service = edge(fleet)
    assert service.below
    async with serving(fleet.switch.apps["edge"]) as port, held(port, service, service.control.etag) as reader:
        service.below.bulletin.close()
        assert await status(reader) == 304


async def test_a_bulletin_has_the_same_number_for_the_same_facts() -> None:
    one, other = Bulletin(), Bulletin()
    one.put("policy", "a")
    assert one.number != other.number
    other.put("policy", "a")
    assert one.number == other.number
    await one.another("something else", 300)  # at once
    await one.another(one.number, 0)
    one.put("watch", "1")
    one.put("watch", "")
    assert one.number == other.number


async def test_a_question_that_is_cut_short_is_asked_again_and_waits_less(fleet: Fleet) -> None:
    asks = edge(fleet).follower
    assert asks
    await asks.poll()
    before = len(fleet.switch.requests)
    fleet.switch.instead["cloud"] = lambda request: httpx.Response(504 if "prefer" in request.headers else 304)
    await asks.poll(hold_s=300)
    assert ["prefer" in request.headers for request in fleet.switch.requests[before:]] == [True, False]
    assert (asks.problem, asks._hold_s) == ("", 200)
