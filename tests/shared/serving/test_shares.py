"""Places in the collector are shared: what one caller holds, or has left behind, keeps no other out."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from ddnn.serving.service import Service
from ddnn.serving.shares import Shares, address_of
from ddnn.wire import encode_request
from ddnn_lab.in_process import Fleet
from real_port import OTHER, post, serving, until, whole

EVENTS = 64


def test_one_caller_alone_has_three_quarters_and_another_always_finds_room() -> None:
    shares = Shares(100)
    for caller in "abc":
        while shares.fits(caller):
            shares.take(caller)
    assert [shares.of(caller) for caller in "abc"] == [75, 19, 5]
    shares.give("a", 75)
    shares.give("b", 19)
    assert (shares.held, shares.of("a"), shares.fits("c", 70), shares.fits("c", 71)) == (5, 0, True, False)


def test_what_comes_alone_needs_to_fit_only() -> None:
    shares = Shares(100)
    assert (shares.fits("a", 100), shares.fits("a", 101)) == (True, False)
    assert all(Shares(room).fits("a", room) for room in (1, 2, 3))


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2a00:1450:1:2:3:4:5:6", "2a00:1450:1:2::/64"),
        ("fd00::7", "fd00::7"),
        ("fe80::7%eth0", "fe80::7%eth0"),
        ("", ""),
    ],
)
def test_a_public_network_of_64_bits_is_one_caller(address: str, caller: str) -> None:
    assert address_of(address) == caller


@pytest.fixture
async def edge(fleet: Fleet) -> AsyncIterator[tuple[Service, int]]:
    """The edge, with few places, which its devices reach from 127.0.0.1; and its port."""
    fleet.settings["collector"] = {"events": EVENTS}
    fleet.start()
    fleet.use(wait_ms=500)
    async with serving(fleet.switch.apps["edge"]) as port:
        yield fleet.switch.apps["edge"].state.service, port


def hostile(fleet: Fleet, name: str, rows: int, **asked: float) -> tuple[bytes, dict[str, str]]:
    """A request that names so many events, which are to be waited for as long as there is."""
    ids = np.array([f"{name} {n}".encode() for n in range(rows)], np.object_)
    scores = np.repeat(fleet.bundle.golden["device_scores"][:1, 0], rows, axis=0)
    body, headers = encode_request({"event": ids, "scores": scores}, parameters={"device": 0, "wait_ms": 600_000})
    return body, {**headers, "x-ddnn-deadline-ms": "600000"}


async def until_pending(edge: Service, events: int) -> None:
    collector = edge.collector
    assert collector
    await until(lambda: collector.pending == events)


async def see_all(fleet: Fleet, name: str, rows: slice = slice(0, 2)) -> None:
    """Every device is answered by all of them, and by the cloud."""
    answers = [row for each in await fleet.see(name=name, rows=rows) for row in each]
    assert {(row.exit, row.degraded, row.devices.all().item()) for row in answers} == {("cloud", False, True)}


async def test_a_batch_for_which_there_are_no_places_leaves_nothing_behind(
    fleet: Fleet, edge: tuple[Service, int]
) -> None:
    service, port = edge
    _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(OTHER, 0))
    writer.write(whole(*hostile(fleet, "first", 40)))
    await until_pending(service, 40)
    body, headers = hostile(fleet, "second", 40)
    refused = await post(port, body, **headers)
    assert (refused.status, "40 events are waiting" in refused.error) == (429, True)
    assert service.collector
    assert service.collector.pending == 40
    writer.close()


async def fill(fleet: Fleet, service: Service, port: int, source: str) -> list[asyncio.StreamWriter]:
    """Name events from an address until no more are taken; the callers that wait."""
    collector, writers = service.collector, []
    assert collector
    for n in range(EVENTS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        refused, name = asyncio.create_task(reader.readline()), f"{source} {n}"
        writer.write(whole(*hostile(fleet, name, 4)))
        writers.append(writer)
        first = f"{name} 0".encode()
        await until(lambda first=first, refused=refused: first in collector._open or refused.done())  # type: ignore[misc]
        if refused.done():
            assert b" 429 " in refused.result()
            return writers
        refused.cancel()
    raise AssertionError("all were taken")


async def test_a_caller_that_holds_all_it_can_leaves_room_for_the_devices(
    fleet: Fleet, edge: tuple[Service, int]
) -> None:
    service, port = edge
    writers = await fill(fleet, service, port, OTHER)
    for n in range(3):
        await see_all(fleet, f"round {n} ")
    for writer in writers:
        writer.close()


async def test_events_whose_callers_have_left_make_room(fleet: Fleet, edge: tuple[Service, int]) -> None:
    service, port = edge
    fleet.use(wait_ms=60_000)
    for source in (OTHER, "127.0.0.3"):
        for writer in await fill(fleet, service, port, source):
            writer.close()
        await until(lambda: not service.in_flight)
    await see_all(fleet, "all at once ", rows=slice(0, 24))


async def test_events_whose_callers_have_left_are_not_kept_for_as_long_as_those_would_have_waited(
    fleet: Fleet, edge: tuple[Service, int]
) -> None:
    service, port = edge
    fleet.use(wait_ms=1)
    for writer in await fill(fleet, service, port, OTHER):
        writer.close()
    await until_pending(service, 0)
