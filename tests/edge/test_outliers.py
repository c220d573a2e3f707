"""A device that contradicts the others all the time is set aside, told, and heard again, over a real port."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import orjson
import pytest

import ddnn_edge.app
from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.policy import Outliers, Policy, Promise, Thresholds
from ddnn.settings import Settings
from ddnn_edge.app import EdgeService
from real_port import ask, post, serving

DEVICES = 6


def policy_of(bundle: Bundle, **changed: Any) -> Policy:
    classes = len(bundle.manifest.classes)
    return Policy(
        bundle=bundle.fingerprint,
        thresholds=Thresholds(local=1.0),
        wait_ms=200,
        adaptive_wait=False,
        outliers=Outliers(per_second=1e6, **changed),
        promise=Promise(dissent=((0.2,) * classes,) * DEVICES),
    )


@pytest.fixture
async def edge(tiny_bundle: Bundle) -> AsyncIterator[tuple[EdgeService, int]]:
    app = ddnn_edge.app.create_app(Settings.load(bundle=tiny_bundle.path))
    async with serving(app) as port:
        yield app.state.service, port
    await app.state.service.close()


async def send(port: int, device: int, event: str, scene: int, classes: int) -> dict[str, Any]:
    scores = 9 * np.eye(classes)[scene]
    inputs = [
        {"name": "event", "datatype": "BYTES", "shape": [1], "data": [event]},
        {"name": "scores", "datatype": "FP32", "shape": [1, classes], "data": scores.tolist()},
    ]
    body = orjson.dumps({"inputs": inputs, "parameters": {"device": device}})
    reply = await post(port, body, x_ddnn_deadline_ms="20000")
    assert reply.status == 200, reply.body
    return {output["name"]: output["data"][0] for output in orjson.loads(reply.body)["outputs"] if output["data"]}


async def see(service: EdgeService, port: int, event: str, scenes: dict[int, int]) -> list[dict[str, Any]]:
    classes = len(service.bundle.manifest.classes)
    return await asyncio.gather(*(send(port, device, event, scene, classes) for device, scene in scenes.items()))


async def until_aside(service: EdgeService, port: int) -> int:
    """Device 2 lies until it is set aside; how many events that took."""
    for n in range(100):
        if service.status()["outliers"]["aside"]:
            return n
        await see(service, port, f"lie {n}", {device: 1 + (device == 2) for device in range(DEVICES)})
    raise AssertionError("it was never set aside")


async def test_a_device_that_lies_is_set_aside_told_and_heard_again(edge: tuple[EdgeService, int]) -> None:
    service, port = edge
    service.policy = policy_of(service.bundle)
    assert await until_aside(service, port) < 40
    answers = await see(service, port, "after", {device: 1 + (device == 2) for device in range(DEVICES)})
    assert {(answer["label"], answer["degraded"]) for answer in answers} == {(1, False)}
    (status, metrics) = await ask(port, ("GET", "/v2/status"), ("GET", "/metrics"))
    outliers = orjson.loads(status.body)["outliers"]
    assert list(outliers["aside"]) == ["2"]
    assert outliers["agreement"]["2"] < 0.9 < outliers["agreement"]["0"]
    assert b'ddnn_device_set_aside{device="2"} 1.0' in metrics.body
    devices = service.collector._held[b"after"].devices
    assert devices.tolist() == [True, True, False, True, True, True]
    for n in range(110):
        await see(service, port, f"true {n}", dict.fromkeys(range(DEVICES), n % 2))
    assert not service.status()["outliers"]["aside"]
    assert service.collector._held[b"true 109"].devices.all()


async def test_where_only_a_device_that_is_set_aside_has_come_the_answer_is_degraded(
    edge: tuple[EdgeService, int],
) -> None:
    service, port = edge
    service.policy = policy_of(service.bundle)
    await until_aside(service, port)
    (answer,) = await see(service, port, "alone", {2: 3})
    assert (answer["label"], answer["degraded_reason"]) == (-1, "outlier")


@pytest.mark.parametrize("keep", [0.0, 0.75])
async def test_a_policy_that_keeps_nobody_to_a_promise_sets_nobody_aside(
    edge: tuple[EdgeService, int], keep: float
) -> None:
    service, port = edge
    service.policy = policy_of(service.bundle, keep=keep) if not keep else Policy(bundle=service.bundle.fingerprint)
    for n in range(40):
        await see(service, port, f"lie {n}", {device: 1 + (device == 2) for device in range(DEVICES)})
    assert service.status()["outliers"]["aside"] == {}


async def test_a_promise_of_other_devices_is_refused_with_a_sentence(edge: tuple[EdgeService, int]) -> None:
    service, _ = edge
    policy = policy_of(service.bundle)
    other = policy.model_copy(update={"promise": Promise(dissent=((0.5, 0.5),))})
    with pytest.raises(BadInput, match=r"dissent is of 1 devices.*expected 6 devices"):
        service.control.check(other)
