"""Sensors that are late."""

import httpx
import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.client import AsyncFleet
from ddnn.errors import BadInput
from ddnn.fleet.events import golden_events, shuffled
from ddnn.fleet.player import Pace, play
from ddnn_lab.in_process import Fleet


def sensors(fleet: Fleet) -> AsyncFleet:
    return AsyncFleet([f"http://device-{n}" for n in range(6)], transport=fleet.switch)


async def test_a_late_view_comes_after_the_others(fleet: Fleet) -> None:
    views = [fleet.view(n, slice(0, 2)) if n < 3 else None for n in range(6)]
    async with sensors(fleet) as client:
        answers = await client.answer_events(views, delays=[0.2, 0, 0.1, 0, 0, 0], wait_ms=1000, deadline_ms=30_000)
    asked = [request.url.host for request in fleet.switch.requests if request.url.host.startswith("device")]
    assert asked == ["device-1", "device-2", "device-0"]
    assert [answer.devices.tolist() for answer in answers] == [[True] * 3 + [False] * 3] * 2


async def test_a_delay_is_given_for_each_device_or_none() -> None:
    async with AsyncFleet(
        ["http://0", "http://1"], transport=httpx.MockTransport(lambda _: httpx.Response(500))
    ) as two:
        with pytest.raises(BadInput, match="there are 1 delays for 2 devices"):
            await two.answer_event([np.zeros(2, np.float32)] * 2, delays=[0.0])


async def test_jittered_events_are_all_answered_by_the_devices_that_saw_them(fleet: Fleet, tiny_bundle: Bundle) -> None:
    async with sensors(fleet) as client:
        pace = Pace(jitter_ms=2, drop=0.3, seed=4)
        found = [played async for played in play(client, shuffled(golden_events(tiny_bundle), 4), pace)]
    assert [played.error for played in found] == [""] * 4
    for played in found:
        assert played.answer is not None
        asked = [view is not None for view in played.event.views]
        assert [given is not None for given in played.answer.answers] == asked


async def test_a_fleet_that_refuses_is_asked_ever_more_slowly(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    now = [0.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds
        if seconds:
            rests.append(round(seconds, 3))

    refusing = AsyncFleet(["http://0"] * 6, transport=httpx.MockTransport(lambda _: httpx.Response(500)))
    monkeypatch.setattr("ddnn.fleet.player.time.monotonic", lambda: now[0])
    monkeypatch.setattr("ddnn.fleet.player.asyncio.sleep", sleep)
    async with refusing as client:
        found = [played async for played in play(client, shuffled(golden_events(tiny_bundle), 9), Pace())]
    assert [played.answer for played in found] == [None] * 9
    assert rests == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
