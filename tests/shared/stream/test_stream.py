"""A tier asks the one above over a stream, on real ports: HTTP's answers and refusals, and a break loses nothing."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI

from ddnn.bundle import Bundle
from ddnn.serving.room.report import Reports
from ddnn.serving.service import Service
from ddnn.stream.frames import Cut, Down, Up, framed, read_refusal
from ddnn.types import Answer
from ddnn.uplink import NoReply, Uplink
from ddnn_lab.in_process import Fleet
from real_port import OTHER, PATIENCE_S, between, serving, until

DEVICES: list[int] = []
ROWS = slice(0, 4)


def service(fleet: Fleet, host: str) -> Service:
    found: Service = fleet.switch.apps[host].state.service
    return found


@asynccontextmanager
async def uplink(port: int, bundle: Bundle, tier: str | None = "edge/0", **given: Any) -> AsyncIterator[Uplink]:
    classes, devices = len(bundle.manifest.classes), len(bundle.topology.devices)
    url, mine = [f"http://127.0.0.1:{port}"], bundle.fingerprint
    async with Uplink(url, bundle=mine, classes=classes, devices=devices, tier=tier, **given) as made:
        yield made


def features(bundle: Bundle, rows: slice = ROWS) -> dict[str, Any]:
    """What an edge sends of golden events."""
    golden = bundle.golden
    return {"features": golden["edge_features"][rows, 0], "present": golden["present"][rows].astype(np.bool_)}


async def ask(to: Uplink, bundle: Bundle, rows: slice = ROWS, **given: Any) -> list[Answer]:
    return (await to.infer(features(bundle, rows), parameters={"edge": 0}, deadline_ms=20_000, **given)).answers


async def test_a_stream_answers_as_http_does(fleet: Fleet) -> None:
    bundle, cloud = Bundle.open(fleet.bundle.path), fleet.switch.apps["cloud"]
    async with serving(cloud) as port, uplink(port, bundle) as stream, uplink(port, bundle, None) as http:
        for rows in (ROWS, slice(4, 5), slice(0, 24)):
            over_stream, over_http = await ask(stream, bundle, rows), await ask(http, bundle, rows)
            for one, other in zip(over_stream, over_http, strict=True):
                for name in ("label", "exit", "degraded", "policy_version", "bytes_up", "late"):
                    assert getattr(one, name) == getattr(other, name)
                assert one.devices.tolist() == other.devices.tolist()
                assert np.abs(one.probabilities - other.probabilities).max() < 1e-4
                assert abs(one.confidence - other.confidence) < 1e-4
        assert stream.streams.told
        assert http.streams.told is None
        assert service(fleet, "cloud").metrics.streams._value.get() == 1
        assert service(fleet, "cloud").metrics.request_count() == 6


async def test_a_tier_that_speaks_no_streams_is_asked_by_http(tiny_bundle: Bundle) -> None:
    """Where sizes must not tell, a tier takes none; nor did those before."""
    bundle, fleet = Bundle.open(tiny_bundle.path), Fleet(Bundle.open(tiny_bundle.path), settings={"pad_bytes": 1024})
    fleet.start(cloud_alone=True)
    async with serving(fleet.switch.apps["cloud"]) as port, uplink(port, bundle) as stream:
        assert len(await ask(stream, bundle)) == 4
        assert not stream.streams.spoken
        assert stream.streams.told is None
    await fleet.close()


async def test_requests_that_wait_when_the_connection_breaks_are_answered_on_the_next(fleet: Fleet) -> None:
    bundle, cloud = Bundle.open(fleet.bundle.path), fleet.switch.apps["cloud"]
    engine, held = service(fleet, "cloud").engine, asyncio.Event()
    whole, entered = engine.answer, 0

    async def slowly(*args: Any) -> list[Answer]:
        nonlocal entered
        entered += 1
        await held.wait()
        return await whole(*args)

    engine.answer = slowly  # type: ignore
    async with serving(cloud) as port, between(port) as (middle, ends), uplink(middle, bundle) as stream:
        asked = [asyncio.create_task(ask(stream, bundle, slice(n, n + 1))) for n in range(3)]
        await until(lambda: entered == 3)
        for end in ends[:2]:
            end.transport.abort()
        await until(lambda: entered == 6)
        held.set()
        answers = [(await each)[0] for each in asked]
        assert [answer.label for answer in answers] == [answer.label for answer in await ask(stream, bundle)][:3]
        assert stream.circuit == "closed"


async def test_a_request_that_is_given_up_is_cancelled_above(fleet: Fleet) -> None:
    bundle, cloud = Bundle.open(fleet.bundle.path), fleet.switch.apps["cloud"]
    above = service(fleet, "cloud")
    whole = above.engine.answer

    async def never(*args: Any) -> list[Answer]:
        pending: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        return await pending

    async with serving(cloud) as port, uplink(port, bundle) as stream:
        await ask(stream, bundle)
        above.engine.answer = never  # type: ignore
        asked = asyncio.create_task(ask(stream, bundle))
        await until(lambda: above.in_flight == 1)
        asked.cancel()
        await until(lambda: above.in_flight == 0)
        above.engine.answer = whole  # type: ignore
        assert len(await ask(stream, bundle)) == 4


async def test_requests_beyond_the_credit_wait_for_answers(tiny_bundle: Bundle) -> None:
    bundle, fleet = Bundle.open(tiny_bundle.path), Fleet(Bundle.open(tiny_bundle.path), settings={"max_in_flight": 2})
    fleet.start(cloud_alone=True)
    async with serving(fleet.switch.apps["cloud"]) as port, uplink(port, bundle) as stream:
        await ask(stream, bundle)
        found = await asyncio.gather(*(ask(stream, bundle, slice(n, n + 1)) for n in range(20)))
        assert [len(answers) for answers in found] == [1] * 20
    await fleet.close()


@pytest.mark.parametrize(
    ("settings", "given", "reason"),
    [
        ({"token": "data-of-all-callers"}, {"token": "another-token-here"}, "unauthorized"),
        ({}, {"bundle": "f" * 64}, "other_bundle"),
    ],
)
async def test_refusals_are_those_of_http(
    tiny_bundle: Bundle, settings: dict[str, Any], given: dict[str, Any], reason: str
) -> None:
    bundle, fleet = Bundle.open(tiny_bundle.path), Fleet(Bundle.open(tiny_bundle.path), settings=settings)
    fleet.start(cloud_alone=True)
    classes, devices = len(bundle.manifest.classes), len(bundle.topology.devices)
    kept = {"bundle": bundle.fingerprint, "classes": classes, "devices": devices, "tier": "edge/0", **given}
    async with serving(fleet.switch.apps["cloud"]) as port, Uplink([f"http://127.0.0.1:{port}"], **kept) as stream:
        with pytest.raises(NoReply) as caught:
            await ask(stream, bundle)
        assert (caught.value.reason, caught.value.lives) == (reason, True)
        assert stream.circuit == "closed"
    await fleet.close()


async def test_a_tier_that_is_gone_was_sent_nothing(fleet: Fleet) -> None:
    bundle = Bundle.open(fleet.bundle.path)
    async with serving(fleet.switch.apps["cloud"]) as port:
        pass
    async with uplink(port, bundle) as stream:
        with pytest.raises(NoReply) as caught:
            await ask(stream, bundle)
        assert (caught.value.reason, caught.value.sent) == ("unreachable", False)


async def test_what_the_tier_below_follows_is_told_at_once(fleet: Fleet) -> None:
    bundle, above = Bundle.open(fleet.bundle.path), service(fleet, "cloud")
    assert above.below
    async with serving(fleet.switch.apps["cloud"]) as port, uplink(port, bundle) as stream:
        stream.streams.hold()
        await until(lambda: stream.streams.told is not None)
        assert stream.streams.told
        assert stream.streams.told[1]["policy"] == above.control.etag
        assert above.below.alive() == {0: True}
        stream.streams.news.clear()
        above.policy = above.policy.model_copy(update={"version": 9})
        async with asyncio.timeout(PATIENCE_S):
            await stream.streams.news.wait()
        assert stream.streams.told[1]["policy"] == above.control.etag
    await until(lambda: above.metrics.streams._value.get() == 0)


async def test_reports_go_over_a_stream_and_bad_ones_are_passed_over(fleet: Fleet) -> None:
    bundle, above, edge = Bundle.open(fleet.bundle.path), service(fleet, "cloud"), service(fleet, "edge")
    assert above.below
    async with serving(fleet.switch.apps["cloud"]) as port, uplink(port, bundle) as stream:
        await ask(stream, bundle)
        (url,) = stream.streams._to
        assert await stream.streams.tell(url, b"no report", PATIENCE_S)
        assert not above.below.news()
        report = Reports(tiers=(edge.reporter.report(),)).model_dump_json().encode()
        assert await stream.streams.tell(url, gzip.compress(report), PATIENCE_S)
        assert [told.key for told in above.below.news()] == ["edge-0"]
        assert not await stream.streams.tell("http://elsewhere", report, PATIENCE_S)


async def test_one_stream_too_many_from_one_address_ends_the_oldest(fleet: Fleet) -> None:
    async with serving(fleet.switch.apps["cloud"]) as port, AsyncExitStack() as stack:
        made = []
        for source in (OTHER, *["127.0.0.1"] * 9):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
            stack.callback(writer.close)
            writer.write(OFFER)
            async with asyncio.timeout(PATIENCE_S):
                await reader.readuntil(b"\r\n\r\n")
            made.append(reader)
        with suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                await made[1].read()
        assert made[1].at_eof() or made[1].exception()
        assert service(fleet, "cloud").metrics.streams._value.get() == 8 + 1
        assert not made[0].at_eof()


OFFER = b"\r\n".join(
    (
        b"GET /v2/stream HTTP/1.1",
        b"host: x",
        b"connection: Upgrade",
        b"upgrade: ddnn-stream/1",
        b"x-ddnn-tier: edge/0",
        b"",
        b"",
    )
)


async def stranger(port: int, *parts: bytes) -> bytes:
    """All that comes back to what is sent after a stream is offered, and taken."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(OFFER + b"".join(parts))
    async with asyncio.timeout(PATIENCE_S):
        found = await reader.read()
    writer.close()
    return found


async def test_a_stranger_that_sends_nonsense_hears_what_is_wrong_and_is_let_go(fleet: Fleet) -> None:
    cloud: FastAPI = fleet.switch.apps["cloud"]
    async with serving(cloud) as port:
        for bad, says in (
            (framed(9), "a frame has the kind 9"),
            (framed(Up.ASK, b"\0\0\0"), "the description 0, which has not come"),
            (b"\xff" * 9, "more than nine bytes"),
        ):
            head, _, frames = (await stranger(port, framed(Up.PING), bad)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            found = Cut(1 << 16).feed(frames)
            assert [kind for kind, _ in found][:2] == [Down.CREDIT, Down.BULLETIN]
            assert found[-1][0] == Down.REFUSAL
            assert says in read_refusal(found[-1][1]).message


async def test_a_tier_that_ends_answers_what_it_was_asked(fleet: Fleet) -> None:
    bundle = Bundle.open(fleet.bundle.path)
    above = service(fleet, "cloud")
    whole, asked = above.engine.answer, asyncio.Event()

    async def slowly(*args: Any) -> list[Answer]:
        asked.set()
        for _ in range(50):
            await asyncio.sleep(0)
        return await whole(*args)

    async with AsyncExitStack() as client, AsyncExitStack() as server:
        port = await server.enter_async_context(serving(fleet.switch.apps["cloud"]))
        stream = await client.enter_async_context(uplink(port, bundle))
        above.engine.answer = slowly  # type: ignore
        task = asyncio.create_task(ask(stream, bundle))
        await asked.wait()
        await server.aclose()
        assert len(await task) == 4
