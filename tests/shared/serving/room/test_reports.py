"""Reports go up with the poll for the policy, of a fleet in one process; a quiet fleet tells nothing."""

from collections.abc import AsyncIterator

import httpx
import numpy as np
import orjson
import pytest

from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.serving.room.below import Below
from ddnn.serving.room.report import REPORTS_PATH, TIER_HEADER, Report, Reports
from ddnn.serving.room.tier import open_room
from ddnn.serving.service import Service
from ddnn.types import Tier
from ddnn_lab.in_process import Fleet

DEVICES = [0, 1]
"""Those that ask the edge for its policy; all six see events."""


@pytest.fixture
async def shown(tiny_bundle: Bundle) -> AsyncIterator[Fleet]:
    fleet = Fleet(Bundle.open(tiny_bundle.path), settings={"show_views": True})
    fleet.start()
    yield fleet
    await fleet.close()


def service(fleet: Fleet, name: str) -> Service:
    found: Service = fleet.switch.apps[name].state.service
    return found


async def poll(fleet: Fleet) -> None:
    """Each tier asks the one above for its policy, from above, so that all know who looks; then from below."""
    names = ["edge", *(f"device-{n}" for n in DEVICES)]
    for name in (*names, *reversed(names)):
        follower = service(fleet, name).follower
        assert follower is not None
        await follower.poll()


def told(fleet: Fleet) -> int:
    return sum(request.url.path == REPORTS_PATH for request in fleet.switch.requests)


async def test_an_event_is_on_the_board_with_its_views(shown: Fleet) -> None:
    room, _ = open_room(service(shown, "cloud"))
    room.streams.open()
    await room.now()
    await poll(shown)
    await shown.see(rows=slice(0, 2))
    await poll(shown)
    whole = await room.now()
    assert sorted(event["id"] for event in whole["events"]) == ["e0", "e1"]
    assert {event["devices"] for event in whole["events"]} == {"111111"}
    assert {id: sorted(seen) for id, seen in whole["views"].items()} == {"e0": DEVICES, "e1": DEVICES}
    states = {tier["key"]: tier["state"] for tier in whole["state"]["tiers"]}
    assert (states["cloud-0"], states["edge-0"], states["device-1"], states["device-2"]) == ("alive",) * 3 + ("gone",)


async def test_no_view_leaves_a_device_where_nobody_looks_or_none_may_be_shown(tiny_bundle: Bundle) -> None:
    for views, looks in ((True, False), (False, True)):
        fleet = Fleet(Bundle.open(tiny_bundle.path), settings={"show_views": views})
        fleet.start()
        room, _ = open_room(service(fleet, "cloud"))
        if looks:
            room.streams.open()
        await room.now()
        await poll(fleet)
        await fleet.see()
        await poll(fleet)
        assert (await room.now())["views"] == {}
        await fleet.close()


async def test_who_looks_later_sees_the_latest_views_too(shown: Fleet) -> None:
    await poll(shown)
    await shown.see()
    await poll(shown)
    room, _ = open_room(service(shown, "cloud"))
    room.streams.open()
    await room.now()
    await poll(shown)
    await poll(shown)
    assert sorted((await room.now())["views"]) == ["e0", "e1"]


async def test_a_quiet_fleet_tells_nothing_whoever_looks(shown: Fleet) -> None:
    room, _ = open_room(service(shown, "cloud"))
    room.streams.open()
    await room.now()
    await poll(shown)
    await poll(shown)
    before = told(shown)
    for _ in range(5):
        await poll(shown)
    assert told(shown) == before


async def test_a_busy_fleet_at_which_nobody_looks_tells_rarely(shown: Fleet) -> None:
    await poll(shown)
    before = told(shown)
    for number in range(5):
        await shown.see(name=f"again-{number}-")
        await poll(shown)
    assert told(shown) == before
    assert service(shown, "edge").metrics.report_bytes._value.get() > 0


async def test_reports_of_others_or_with_a_mistake_are_refused(shown: Fleet) -> None:
    own = service(shown, "device-0").reporter.report().model_dump(mode="json")
    wrong = {
        "tiers.0 is device-0; expected one of edge-0": {"tiers": [own]},
        "edge-0 tells of device-40, which is not below it": {"tiers": [{**own, "tier": "edge"}, {**own, "index": 40}]},
        "the reports have a mistake at tiers: ": {"tiers": []},
        "the reports have a mistake at tiers.0.confidence: ": {"tiers": [{**own, "confidence": 3}]},
        "the reports have a mistake at tiers.0.requests: ": {"tiers": [{**own, "requests": -1}]},
    }
    async with shown.client("cloud") as client:
        for sentence, document in wrong.items():
            response = await client.post(REPORTS_PATH, content=orjson.dumps(document))
            assert response.status_code == 400
            assert sentence in response.json()["error"]
        assert (await client.post(REPORTS_PATH, content=b"[")).status_code == 400
        large = await client.post(REPORTS_PATH, content=b" " * (600 << 10))
        assert large.status_code == 413


async def test_reports_are_taken_of_whoever_has_the_token_alone(tiny_bundle: Bundle) -> None:
    fleet = Fleet(Bundle.open(tiny_bundle.path), settings={"token": "data-of-all-callers"}, devices=[0])
    fleet.start()
    body = Reports(tiers=(service(fleet, "edge").reporter.report(),)).model_dump_json()

    async def given(**headers: str) -> int:
        async with fleet.client("cloud") as client:
            response: httpx.Response = await client.post(REPORTS_PATH, content=body, headers=headers)
            return response.status_code

    assert await given() == 401
    assert await given(authorization="Bearer data-of-all-caller") == 401
    assert await given(authorization="Bearer data-of-all-callers") == 204
    await fleet.close()


async def test_a_tier_tells_of_itself_when_asked(shown: Fleet) -> None:
    await shown.see(rows=slice(0, 3))
    async with shown.client("edge") as client:
        whole = Report.model_validate_json((await client.get(REPORTS_PATH)).content)
        assert [event.n for event in whole.events] == [1, 2, 3]
        rest = Report.model_validate_json((await client.get(REPORTS_PATH, params={"after": "2"})).content)
        assert [event.n for event in rest.events] == [3]
        assert (await client.get(REPORTS_PATH, params={"after": "x"})).status_code == 400


def test_a_child_that_is_not_heard_of_is_gone() -> None:
    now = 50.0
    below = Below(Tier.DEVICE, {3: (), 4: ()}, every_s=0.5, clock=lambda: now)
    assert below.alive() == {3: False, 4: False}
    assert below.heard("device/3") == 3
    for other in ("device/5", "edge/3", "device/x", "", None, "device/³"):
        assert below.heard(other) is None
    assert below.alive() == {3: True, 4: False}
    now += 2.5
    assert below.alive() == {3: False, 4: False}


async def test_the_poll_says_who_asks(shown: Fleet) -> None:
    await poll(shown)
    asked = {request.headers.get(TIER_HEADER) for request in shown.switch.requests if request.url.path == "/v2/policy"}
    assert asked == {"edge/0", "device/0", "device/1"}


def test_reports_that_are_no_json_are_a_sentence() -> None:
    with pytest.raises(BadInput, match="the reports are not valid JSON"):
        Reports.read(b"\0")


async def test_views_of_any_numbers_become_small_pictures(tiny_bundle: Bundle) -> None:
    from ddnn.serving.room.reporter import _shown

    rng = np.random.default_rng(0)
    views = [rng.integers(0, 256, (3, 96, 128), np.uint8), rng.normal(size=(1, 9, 7)).astype(np.float32)]
    views += [np.full((40, 30), np.nan, np.float32), rng.integers(0, 256, (1, 200, 10), np.uint8)]
    for view in views:
        assert 0 < len(_shown("e", view).png) <= 6000
