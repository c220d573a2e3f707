"""What one caller or device of six may decide for the others, over a real port: nothing."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import orjson
import pytest

import ddnn_edge.app
from ddnn.bundle import Bundle
from ddnn.policy import Policy, Thresholds
from ddnn.settings import Settings
from ddnn.types import Exit
from ddnn_edge.app import EdgeService
from ddnn_lab.in_process import Fleet
from real_port import ask, post, serving

SURE = Thresholds(local=1.0)
ALL = range(6)


class Edge:
    """An edge behind a port, and its devices."""

    def __init__(self, service: EdgeService, port: int) -> None:
        self.service, self._port = service, port

    def use(self, thresholds: Thresholds = SURE, wait_ms: float = 60_000) -> None:
        policy = Policy(bundle=self.service.bundle.fingerprint, thresholds=thresholds, wait_ms=wait_ms)
        self.service.policy = policy.model_copy(update={"adaptive_wait": False})

    async def send(
        self, device: int, event: str, scene: int, *, strength: float = 9.0, answered: bool = False, **asked: Any
    ) -> dict[str, Any]:
        """One device's scores of an event in which it sees class `scene`; the answer by output."""
        scores = np.eye(len(self.service.bundle.manifest.classes))[scene] * strength
        inputs = [
            {"name": "event", "datatype": "BYTES", "shape": [1], "data": [event]},
            {"name": "scores", "datatype": "FP32", "shape": [1, len(scores)], "data": scores.tolist()},
        ]
        if answered:
            inputs.append({"name": "answered", "datatype": "BOOL", "shape": [1], "data": [True]})
        body = orjson.dumps({"inputs": inputs, "parameters": {"device": device, **asked}})
        reply = await post(self._port, body, x_ddnn_deadline_ms="20000")
        assert reply.status == 200, reply.body
        return {output["name"]: output["data"] for output in orjson.loads(reply.body)["outputs"]}

    async def see(self, event: str, scene: int, devices: Any = ALL, **asked: Any) -> list[dict[str, Any]]:
        return await asyncio.gather(*(self.send(device, event, scene, **asked) for device in devices))

    async def first(self, *args: Any, **asked: Any) -> asyncio.Task[dict[str, Any]]:
        """Open an event; the answer is to come."""
        answer = asyncio.create_task(self.send(*args, **asked))
        while not self.service.collector.pending:  # noqa: ASYNC110 — a turn of the loop at a time
            await asyncio.sleep(0)
        return answer

    async def counts(self, name: str) -> float:
        (reply,) = await ask(self._port, ("GET", "/metrics"))
        lines = reply.body.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"ddnn_{name}"))


@pytest.fixture
async def edge(tiny_bundle: Bundle) -> AsyncIterator[Edge]:
    app = ddnn_edge.app.create_app(Settings.load(bundle=tiny_bundle.path))
    async with serving(app) as port:
        edge = Edge(app.state.service, port)
        edge.use()
        yield edge
    await app.state.service.close()


@pytest.mark.parametrize("asked", [{}, {"policy_version": 999}])
async def test_a_device_that_says_it_has_answered_dictates_nothing(edge: Edge, asked: dict[str, Any]) -> None:
    await edge.send(0, "e", 3, strength=1e6, answered=True, **asked)
    for answer in await edge.see("e", 1, range(1, 6)):
        assert (answer["label"], answer["exit"], answer["policy_version"]) == ([1], ["local"], [1])
    assert await edge.counts("answered_unbacked_total") == 1


async def test_a_device_that_is_sure_by_the_policy_is_believed(edge: Edge) -> None:
    edge.use(Thresholds(device=0.5))
    await edge.send(0, "e", 3, answered=True)
    assert {(answer["label"][0], answer["exit"][0]) for answer in await edge.see("e", 1, range(1, 6))} == {
        (3, "device")
    }


async def test_a_caller_that_leaves_early_closes_the_event_for_nobody_else(edge: Edge) -> None:
    early = await edge.send(0, "e", 1, wait_ms=0)
    assert early["devices"] == [True, *[False] * 5]
    for answer in await edge.see("e", 1, range(1, 6)):
        assert answer["devices"] == [True] * 6
        assert answer["degraded"] == [False]


async def test_a_hurried_caller_closes_the_event_for_nobody_else(edge: Edge) -> None:
    early = await edge.send(0, "e", 1, timeout=2_000_000)
    assert early["devices"] == [True, *[False] * 5]
    for answer in await edge.see("e", 1, range(1, 6)):
        assert answer["devices"] == [True] * 6


async def test_a_patient_caller_keeps_nobody_else(edge: Edge) -> None:
    edge.use(wait_ms=50)
    patient = await edge.first(0, "e", 1, wait_ms=600_000)
    for answer in await edge.see("e", 1, range(1, 5)):
        assert answer["label"] == [1]
    assert not patient.done()
    assert not edge.service.collector.held
    await edge.send(5, "e", 1)
    assert (await patient)["devices"] == [True] * 6


async def test_who_opens_an_event_alone_and_then_says_no_more_answers_for_nobody_else(edge: Edge) -> None:
    edge.use(Thresholds(local=0.5), wait_ms=20)
    for n in range(3):
        alone = await edge.send(0, f"e{n}", 3, strength=0.1)
        assert alone["need_features"] == [True]
        for answer in await edge.see(f"e{n}", 1, range(1, 6), wait_ms=60_000):
            assert (answer["label"], answer["exit"], answer["degraded"]) == ([1], ["local"], [False])
            assert answer["devices"] == [True] * 6
        again = await edge.send(0, f"e{n}", 2)
        assert (again["label"], again["devices"]) != ([1], [True] * 6)


@pytest.mark.parametrize("own", [{"threshold": 0.0}, {"max_exit": "edge", "threshold": 0.0}])
async def test_what_one_caller_wants_beyond_the_policy_is_for_itself(edge: Edge, own: dict[str, Any]) -> None:
    greedy = await edge.first(0, "e", 1, **own)
    for answer in await edge.see("e", 1, range(1, 6)):
        assert (answer["label"], answer["exit"], answer["degraded"]) == ([1], ["local"], [False])
    asked = await greedy
    assert (asked["need_features"], asked["label"]) == ([True], [-1])


async def test_what_one_caller_is_content_with_is_not_the_others_answer(edge: Edge) -> None:
    edge.use(Thresholds(local=0.0, edge=0.0))
    modest = await edge.first(0, "e", 1, max_exit="local")
    others = await edge.see("e", 1, range(1, 6))
    assert [answer["need_features"] for answer in others] == [[True]] * 5
    assert (await modest)["exit"] == ["local"]


async def test_events_of_its_own_do_not_make_the_other_devices_count_as_dead(edge: Edge) -> None:
    for n in range(20):
        await edge.send(0, f"own {n}", 2, wait_ms=0)
    edge.use(wait_ms=1)
    for n in range(20):
        await edge.send(0, f"alone {n}", 2)
    (reply,) = await ask(edge._port, ("GET", "/v2/status"))
    assert orjson.loads(reply.body)["collector"]["alive"] == [True] * 6


async def test_an_event_id_used_again_for_another_scene_is_another_event(edge: Edge) -> None:
    for scene in (1, 2, 3):
        for answer in await edge.see("always the same", scene):
            assert (answer["label"], answer["devices"]) == ([scene], [True] * 6)
    assert await edge.counts('event_ids_reused_total{outcome="new_event"}') == 12
    (again,) = await edge.see("always the same", 3, [4])
    assert again["label"] == [3]


async def test_an_event_id_used_again_while_the_event_is_open_is_refused_and_told(edge: Edge) -> None:
    first = await edge.first(0, "e", 1)
    refused = await edge.send(0, "e", 2)
    assert (refused["label"], refused["degraded_reason"]) == ([-1], ["reused"])
    await edge.see("e", 1, range(1, 6))
    assert (await first)["label"] == [1]


async def test_with_a_key_event_ids_go_up_as_what_cannot_be_guessed(tiny_bundle: Bundle) -> None:
    fleet = Fleet(Bundle.open(tiny_bundle.path), settings={"event_key": "a-key-of-this-very-site"})
    fleet.start()
    fleet.use(thresholds=SURE)
    answers = [answer for given in await fleet.see(name="counter") for answer in given]
    assert all(answer.devices.all() and answer.exit is Exit.LOCAL for answer in answers)
    held = fleet.switch.apps["edge"].state.service.collector._held
    want = [hmac.digest(b"a-key-of-this-very-site", b"counter%d" % n, "sha256").hex().encode() for n in range(2)]
    assert sorted(held) == sorted(want)
    await fleet.close()
