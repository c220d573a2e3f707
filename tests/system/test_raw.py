"""Configuration (a): raw views go up and the cloud alone answers, so that below it there is nothing to fall back on."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.client import AsyncFleet
from ddnn.codec import codec_of
from ddnn.errors import DeadlineExceeded, Unavailable
from ddnn.policy import Policy
from ddnn.topology import Topology
from ddnn.types import Exit
from ddnn_lab.in_process import Fleet
from networks import TOPOLOGIES, make_bundle


@pytest.fixture(scope="module")
def raw_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "raw", devices=3, **TOPOLOGIES["a"])


@pytest.fixture
async def fleet(raw_bundle: Bundle) -> AsyncIterator[Fleet]:
    fleet = Fleet(Bundle.open(raw_bundle.path))
    fleet.start()
    fleet.use()
    yield fleet
    await fleet.close()


def views(fleet: Fleet, rows: slice = slice(0, 1)) -> list[Any]:
    return [fleet.view(device, rows) for device in range(3)]


async def ask(fleet: Fleet, **options: Any) -> Any:
    urls = [f"http://device-{n}" for n in range(3)]
    async with AsyncFleet(urls, transport=fleet.switch) as client:
        return await client.answer_events(views(fleet), **options)


async def test_a_picture_that_cannot_be_decoded_is_refused_on_arrival_and_harms_no_other_event(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "pictures", devices=3, **TOPOLOGIES["a"])
    document = bundle.topology.model_dump()
    document["sections"][0]["inputs"][0]["codec"] = "jpeg95"
    changed = bundle.manifest.model_copy(update={"topology": Topology.model_validate(document)})
    Policy(bundle=Bundle.seal(bundle.path, changed).fingerprint).write(bundle.path)
    fleet = Fleet(Bundle.open(bundle.path))
    fleet.start()
    fleet.use(wait_ms=0)
    good = codec_of("jpeg95").pack(fleet.view(0, slice(0, 1)))
    cut = np.array([good.item()[: len(good.item()) // 2]], np.object_)
    refused, answered = await asyncio.gather(
        fleet.post("edge", {"view": cut}, device=0), fleet.post("edge", {"view": good}, device=0)
    )
    assert (refused.status_code, answered.status_code) == (400, 200)
    assert set(refused.json()) == {"error", "code", "request_id", "tier", "retryable"}
    assert "picture cannot be decoded" in refused.json()["error"]
    await fleet.close()


async def test_a_view_goes_up_as_it_is_and_the_cloud_answers(fleet: Fleet) -> None:
    ((answer,), *_) = await fleet.see(rows=slice(0, 1))
    assert (answer.exit, answer.degraded, answer.devices.tolist()) == (Exit.CLOUD, False, [True] * 3)
    view = fleet.view(0, slice(0, 1)).nbytes
    (event,) = await ask(fleet)
    assert event.bytes_up == 3 * view + 3 * view + 3  # up to the edge, up to the cloud, who is present
    hosts = [request.url.host for request in fleet.switch.requests]
    assert (hosts.count("edge"), hosts.count("cloud")) == (6, 2)


async def test_views_travel_as_pictures_where_the_topology_says_so(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "pictures", devices=3, **TOPOLOGIES["a"])
    document = bundle.topology.model_dump()
    document["sections"][0]["inputs"][0]["codec"] = "jpeg95"
    changed = bundle.manifest.model_copy(update={"topology": Topology.model_validate(document)})
    Policy(bundle=Bundle.seal(bundle.path, changed).fingerprint, wait_ms=60_000).write(bundle.path)
    fleet, codec = Fleet(Bundle.open(bundle.path)), codec_of("jpeg95")
    fleet.start()
    sizes = [len(codec.pack(fleet.view(device, slice(0, 1)))[0]) for device in range(3)]
    answers = [row for (row,) in await fleet.see(rows=slice(0, 1))]
    assert {(answer.exit, answer.degraded, all(answer.devices)) for answer in answers} == {(Exit.CLOUD, False, True)}
    assert sum(answer.bytes_up for answer in answers) == 2 * sum(sizes) + 3
    fleet.use(wait_ms=1)
    ((alone,),) = await fleet.see(devices=[1], rows=slice(0, 1), name="alone")
    assert (alone.exit, alone.devices.tolist()) == (Exit.CLOUD, [False, True, False])
    await fleet.close()


async def test_without_an_event_a_view_is_one_of_its_own(fleet: Fleet) -> None:
    (answer,) = await fleet.infer("device-1", {"view": fleet.view(1, slice(0, 1))})
    assert (answer.exit, answer.devices.tolist()) == (Exit.CLOUD, [False, True, False])


async def test_absent_devices_show_and_do_not_degrade(fleet: Fleet) -> None:
    fleet.use(wait_ms=1)
    for (answer,) in await fleet.see(devices=[0, 2], rows=slice(0, 1)):
        assert (answer.degraded, answer.devices.tolist()) == (False, [True, False, True])


@pytest.mark.parametrize("dead", ["cloud", "edge"])
async def test_a_dead_tier_above_is_503_and_the_same_event_may_be_asked_again(fleet: Fleet, dead: str) -> None:
    app = fleet.switch.apps.pop(dead)
    with pytest.raises(Unavailable, match=r"device 0: no tier above answered \(unreachable\).* and 2 more failed"):
        await ask(fleet, events=["e"])
    fleet.switch.apps[dead] = app
    (again,) = await ask(fleet, events=["e"])
    assert (again.exit, again.degraded) == (Exit.CLOUD, False)


async def test_what_a_device_without_an_exit_answers_is_the_one_error_body(fleet: Fleet) -> None:
    del fleet.switch.apps["cloud"]
    response = await fleet.post("device-0", {"view": fleet.view(0, slice(0, 2))})
    assert response.status_code == 503
    body = response.json()
    assert (body["code"], body["tier"], body["retryable"]) == ("UNAVAILABLE", "device", True)
    assert response.headers["retry-after"] == "1"
    assert 'ddnn_exits_total{exit="cloud",reason="sure"} 0.0' in metrics(fleet, "device-0")


async def test_no_answer_in_time_is_504(fleet: Fleet) -> None:
    hangs = asyncio.Event()

    class Hanging(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await hangs.wait()
            raise httpx.ConnectError("down", request=request)

    fleet.switch.apps["edge"].state.service.uplink._transport._client._transport = Hanging()
    with pytest.raises(DeadlineExceeded, match="no tier above answered"):
        await ask(fleet, deadline_ms=50)
    hangs.set()


async def test_rows_that_are_answered_are_not_lost_to_those_that_are_not(fleet: Fleet) -> None:
    """The first post to the cloud gets an answer, the second none."""
    cloud = httpx.ASGITransport(fleet.switch.apps["cloud"])

    class Once(httpx.AsyncBaseTransport):
        posts = 0

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            self.posts += 1
            if self.posts > 1:
                raise httpx.ConnectError("down", request=request)
            return await cloud.handle_async_request(request)

    fleet.switch.apps["edge"].state.service.uplink._transport._client._transport = Once()
    fleet.use(wait_ms=100, adaptive_wait=False)
    one, two = np.array([b"a"], np.object_), np.array([b"a", b"b"], np.object_)
    others = [fleet.infer(f"device-{n}", {"view": fleet.view(n, slice(0, 1)), "event": one}) for n in (1, 2)]
    both, *_ = await asyncio.gather(
        fleet.infer("device-0", {"view": fleet.view(0, slice(0, 2)), "event": two}), *others
    )
    assert [(row.label >= 0, row.degraded_reason) for row in both] == [(True, ""), (False, "unreachable")]


@pytest.mark.parametrize("host", ["device-0", "edge", "cloud"])
async def test_an_exit_that_the_network_does_not_have_is_refused(fleet: Fleet, host: str) -> None:
    example = fleet.switch.apps[host].state.service.request_example
    example = {**example, "parameters": {**example.get("parameters", {}), "max_exit": "edge"}}
    async with fleet.client(host) as client:
        response = await client.post("/v2/models/ddnn/infer", json=example)
        assert response.status_code == 400
        assert "parameter 'max_exit' is 'edge'; this network's first exit is 'cloud'" in response.json()["error"]
        example["parameters"]["max_exit"] = "cloud"
        assert (await client.post("/v2/models/ddnn/infer", json=example)).status_code == 200


async def test_an_edge_that_joins_views_takes_no_scores_and_no_other_view(fleet: Fleet) -> None:
    scores = {"scores": np.zeros((1, len(fleet.bundle.manifest.classes)), np.float32)}
    response = await fleet.post("edge", scores, device=0)
    assert "input tensor 'scores' is unknown here; expected 'event', 'view'" in response.json()["error"]
    view = fleet.view(0, slice(0, 1))
    response = await fleet.post("edge", {"view": view[..., :-1]}, device=0)
    assert (response.status_code, "input tensor 'view' is UINT8" in response.text) == (400, True)
    response = await fleet.post("cloud", {"view": view[None], "present": np.ones((1, 3), np.bool_)})
    assert (response.status_code, "input tensor 'view' is UINT8" in response.text) == (400, True)


@pytest.mark.parametrize("host", ["device-0", "edge", "cloud"])
async def test_metadata_and_status_name_one_exit(fleet: Fleet, host: str) -> None:
    async with fleet.client(host) as client:
        metadata = (await client.get("/v2/models/ddnn")).json()
        status = (await client.get("/v2/status")).json()
    view = next(entry for entry in metadata["inputs"] if entry["name"] == "view")
    shape = list(fleet.bundle.topology.devices[0].view.shape)
    assert view["shape"] == ([-1, 3, *shape] if host == "cloud" else [-1, *shape])
    assert list(status["exits"]) == ["cloud"]


def metrics(fleet: Fleet, host: str) -> str:
    text: bytes = fleet.switch.apps[host].state.service.metrics.text()
    return text.decode()
