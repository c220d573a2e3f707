"""A policy tried from the page: the question goes down with the poll, what was found comes up; nothing changes."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from ddnn.bundle import Bundle
from ddnn.serving.service import Service
from ddnn_lab.in_process import Fleet
from real_port import until

ADMIN = "admin-of-this-site"


@pytest.fixture
async def fleet(tiny_bundle: Bundle) -> AsyncIterator[Fleet]:
    fleet = Fleet(Bundle.open(tiny_bundle.path), settings={"admin_token": ADMIN})
    fleet.start()
    yield fleet
    await fleet.close()


async def poll(fleet: Fleet) -> None:
    service: Service = fleet.switch.apps["edge"].state.service
    assert service.follower is not None
    await service.follower.poll()


async def ask(fleet: Fleet, document: object, token: str = ADMIN) -> tuple[int, dict[str, object]]:
    async with fleet.client("cloud") as client:
        headers = {"authorization": f"Bearer {token}"}
        response = await client.put("/room/trial", content=orjson.dumps(document), headers=headers)
        return response.status_code, response.json()


async def policy(fleet: Fleet, **changes: object) -> dict[str, object]:
    async with fleet.client("cloud") as client:
        return {**(await client.get("/v2/policy")).json(), **changes}


async def asked(fleet: Fleet, document: object) -> tuple[int, dict[str, object]]:
    """Ask while the edge polls."""
    await poll(fleet)
    asking = asyncio.create_task(ask(fleet, document))
    await until_answered(fleet, asking)
    return await asking


async def until_answered(fleet: Fleet, asking: asyncio.Task[tuple[int, dict[str, object]]]) -> None:
    async with asyncio.timeout(30):
        while not asking.done():
            await poll(fleet)
            await asyncio.sleep(0.02)  # nothing else lets the loop turn: all is in one process


async def test_a_policy_is_tried_on_what_the_edge_has_decided_and_nothing_changes(fleet: Fleet) -> None:
    before = await policy(fleet)
    await fleet.see(rows=slice(0, 20))
    thresholds = {"device": 0.0, "local": 1.0, "edge": 1.0}
    status, document = await asked(fleet, {**before, "thresholds": thresholds, "live": {}})
    assert status == 200
    found = document["dry_run"]
    assert isinstance(found, dict)
    assert found["events"] == 20
    assert found["after"]["share"]["local"] > 0.9
    assert found["says"].endswith("20 recorded decisions")
    assert await policy(fleet) == before


async def test_trying_needs_the_admin_token_and_a_policy(fleet: Fleet) -> None:
    good = await policy(fleet)
    assert (await ask(fleet, good, token="x"))[0] == 403
    assert (await ask(fleet, {**good, "thresholds": {"local": 2.0}}))[0] == 400
    assert (await ask(fleet, {**good, "bundle": "another"}))[0] == 409
    assert (await ask(fleet, good))[0] == 503  # nothing below has been heard of


async def test_a_newer_question_takes_the_place_of_an_older_one(fleet: Fleet) -> None:
    await poll(fleet)
    below = fleet.switch.apps["cloud"].state.service.below
    good = await policy(fleet)
    older = asyncio.create_task(ask(fleet, good))
    await until(lambda: below.question is not None)
    newer = asyncio.create_task(ask(fleet, good))
    status, document = await older
    assert (status, document["error"]) == (503, "another policy is being tried")
    assert below.question[0] == 2
    await until_answered(fleet, newer)
    assert (await newer)[0] == 200


async def test_no_question_is_told_where_none_is_asked(fleet: Fleet) -> None:
    async with fleet.client("cloud") as client:
        assert (await client.get("/v2/reports/trial")).status_code == 404
