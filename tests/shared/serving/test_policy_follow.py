"""Following: the cloud's policy goes down tier by tier, and the last good one stays when nothing better comes."""

import asyncio
import logging
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from ddnn.bundle import Bundle
from ddnn.policy import Policy, Thresholds
from ddnn.serving.control import Follower, PolicyControl
from ddnn.serving.service import Service
from ddnn.trail import Trail
from ddnn.types import Exit
from ddnn_lab.in_process import NEVER, Fleet


def service(fleet: Fleet, host: str) -> Service:
    found: Service = fleet.switch.apps[host].state.service
    return found


def follower(fleet: Fleet, host: str) -> Follower:
    found = service(fleet, host).follower
    assert found
    return found


def next_policy(fleet: Fleet, **changes: Any) -> Policy:
    """The cloud's policy, one version on, with changes."""
    now = service(fleet, "cloud").policy
    return now.model_copy(update={"version": now.version + 1, **changes})


@pytest.fixture
async def edge(fleet: Fleet) -> Follower:
    return follower(fleet, "edge")


async def test_a_change_goes_down_tier_by_tier_and_only_when_there_is_one(fleet: Fleet, edge: Follower) -> None:
    changed = next_policy(fleet, thresholds=Thresholds(local=0.25))
    service(fleet, "cloud").policy = changed
    device = follower(fleet, "device-2")
    await device.poll()
    assert service(fleet, "device-2").policy.version == 1
    await edge.poll()
    await device.poll()
    assert service(fleet, "edge").policy == service(fleet, "device-2").policy == changed
    assert service(fleet, "edge").control.source == "upstream"
    before = len(fleet.switch.requests)
    await edge.poll()
    assert fleet.switch.requests[before].headers["if-none-match"] == changed.etag
    status = service(fleet, "edge").status()["policy"]
    assert 0 <= status["followed_s_ago"] < 60
    assert status["not_followed_because"] is None


def text(document: Any) -> bytes:
    return document if isinstance(document, bytes) else orjson.dumps(document)


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (200, b"{", "not valid JSON"),
        (200, b"[]", "not a JSON object"),
        (200, {"bundle": "x", "thresholds": {"local": 7}}, "thresholds.local is 7"),
        (200, {"bundle": "f" * 64}, "another bundle"),
        (200, b"[" + b"0," * (1 << 20), "longer than"),
        (404, b"", "answered 404"),
        (503, {"error": "starting", "code": "UNAVAILABLE"}, "starting"),
    ],
)
async def test_the_last_good_policy_stays_whatever_the_tier_above_says(
    fleet: Fleet, edge: Follower, status: int, answer: Any, words: str
) -> None:
    before = service(fleet, "edge").policy
    fleet.switch.instead["cloud"] = lambda _: httpx.Response(status, content=text(answer))
    await edge.poll()
    assert service(fleet, "edge").policy is before
    assert words in service(fleet, "edge").status()["policy"]["not_followed_because"]
    assert service(fleet, "edge").status()["uplink"]["circuit"] == "closed"


async def test_a_tier_that_is_away_costs_one_line_and_no_circuit(
    fleet: Fleet, edge: Follower, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ddnn")
    cloud = fleet.switch.apps.pop("cloud")
    for _ in range(8):  # as many failed requests would have opened the circuit
        await edge.poll()
    fleet.switch.apps["cloud"] = cloud
    for _ in range(3):
        await edge.poll()
    said = [record.getMessage() for record in caplog.records]
    assert [word for line in said for word in ("stays in force", "followed again") if word in line] == [
        "stays in force",
        "followed again",
    ]
    assert service(fleet, "edge").status()["uplink"]["circuit"] == "closed"


async def test_the_next_of_several_is_asked_when_the_first_has_nothing(tiny_bundle: Bundle) -> None:
    fleet = Fleet(Bundle.open(tiny_bundle.path), settings={"token": "between-the-tiers"})
    fleet.start()
    above = service(fleet, "edge")
    assert above.uplink
    changed = next_policy(fleet)
    service(fleet, "cloud").policy = changed
    control = PolicyControl(above.policy, classes=2, devices=6)
    asks = Follower(above.uplink, ("http://gone", "http://cloud"), control, Trail(None, "edge"), every_s=1)
    await asks.poll()
    assert (control.policy, control.source, asks.problem) == (changed, "upstream", "")
    assert {request.headers["authorization"] for request in fleet.switch.requests} == {"Bearer between-the-tiers"}
    await fleet.close()


@pytest.fixture
async def polling(fleet: Fleet) -> Fleet:
    """All tiers follow by themselves, as they do when served."""
    for app in fleet.switch.apps.values():
        if running := app.state.service.follower:
            running._every_s = 0.001
            running.start()
    return fleet


async def test_tiers_follow_by_themselves_until_they_are_closed(polling: Fleet) -> None:
    changed = next_policy(polling)
    service(polling, "cloud").policy = changed
    async with asyncio.timeout(30):
        services = [app.state.service for app in polling.switch.apps.values()]
        while any(each.policy != changed for each in services):  # noqa: ASYNC110 — a turn of the loop at a time
            await asyncio.sleep(0)
    assert service(polling, "edge").idle
    await polling.close()
    assert not [task for task in asyncio.all_tasks() if "Follower" in str(task.get_coro())]


async def test_an_event_is_decided_under_what_was_in_force_when_it_came(fleet: Fleet) -> None:
    """One device contributes before the swap, the others after it: the edge's snapshot is the first's."""
    fleet.use(thresholds=Thresholds(local=1.0))
    old = service(fleet, "edge").policy
    first = asyncio.create_task(fleet.see(devices=[0], rows=slice(0, 1), name="e"))
    await fleet.switch.reached("edge")
    collector = service(fleet, "edge").collector
    assert collector
    while not collector.pending:  # noqa: ASYNC110 — a turn of the loop at a time
        await asyncio.sleep(0)
    new = old.model_copy(update={"version": 9, "thresholds": NEVER})
    for app in fleet.switch.apps.values():
        app.state.service.policy = new
    others = await fleet.see(devices=[1, 2, 3, 4, 5], rows=slice(0, 1), name="e")
    answers = [given[0] for given in [*await first, *others]]
    assert {(answer.exit, answer.policy_version) for answer in answers} == {(Exit.LOCAL, old.version)}
    (after,) = {(given[0].exit, given[0].policy_version) for given in await fleet.see(rows=slice(0, 1), name="f")}
    assert after == (Exit.CLOUD, 9)


async def test_what_a_device_was_sure_of_under_another_policy_than_its_edge_settles_nothing(fleet: Fleet) -> None:
    """The device is behind its edge: its caller has its answer, its siblings hear what all say together."""
    fleet.use(thresholds=NEVER)
    behind = next_policy(fleet, thresholds=Thresholds(device=1.0), version=5, wait_ms=60_000.0)
    for host in ("device-2", "edge"):
        service(fleet, host).policy = behind
    answers = [given[0] for given in await fleet.see(rows=slice(0, 1))]
    assert {(answer.exit, answer.policy_version) for answer in answers} == {(Exit.DEVICE, 5)}
    assert all(np.array_equal(answer.probabilities, answers[2].probabilities) for answer in answers)
    service(fleet, "edge").policy = behind.model_copy(update={"version": 6})
    answers = [given[0] for given in await fleet.see(rows=slice(0, 1), name="f")]
    assert [answer.exit is Exit.DEVICE for answer in answers] == [n == 2 for n in range(6)]
    assert all(answer.devices.sum() == 5 for n, answer in enumerate(answers) if n != 2)
