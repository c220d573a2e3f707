"""What only an edge does: it joins its own devices' contributions, and says what it wants of whom."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.policy import Thresholds
from ddnn.types import Answer, Array, Exit
from ddnn_edge.app import EdgeService
from ddnn_lab.in_process import NEVER, Fleet
from networks import make_bundle


@pytest.fixture(scope="module")
def passing_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """No edge section: the edge fuses scores and passes the features on."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "passing", devices=3, edge_section=False)


@pytest.fixture
async def passing(passing_bundle: Bundle) -> AsyncIterator[Fleet]:
    fleet = Fleet(Bundle.open(passing_bundle.path))
    fleet.start()
    fleet.use(thresholds=NEVER)
    yield fleet
    await fleet.close()


def service(fleet: Fleet) -> EdgeService:
    found = fleet.switch.apps["edge"].state.service
    assert isinstance(found, EdgeService)
    return found


async def contribute(fleet: Fleet, device: int, event: bytes, *names: str, **parameters: Any) -> Answer:
    """One device's scores or features, or both, of the first golden event."""
    golden = fleet.bundle.golden
    inputs: dict[str, Array] = {name: golden[f"device_{name}"][:1, device] for name in names}
    inputs["event"] = np.array([event], np.object_)
    (answer,) = await fleet.infer("edge", inputs, device=device, **parameters)
    return answer


async def test_scores_alone_are_asked_for_their_features(fleet: Fleet) -> None:
    asked = await contribute(fleet, 2, b"e", "scores", wait_ms=0)
    assert (asked.label, asked.need_features) == (-1, True)
    given = await contribute(fleet, 2, b"e", "features")
    assert (given.exit, given.need_features, given.degraded) == (Exit.CLOUD, False, False)


async def test_features_of_an_unknown_event_are_not_wanted(fleet: Fleet) -> None:
    told = await contribute(fleet, 0, b"never seen", "features")
    assert (told.label, told.need_features) == (-1, False)


async def test_features_of_an_unknown_event_at_a_draining_edge_are_503(fleet: Fleet) -> None:
    service(fleet).draining = True
    inputs = {"event": np.array([b"never seen"], np.object_), "features": fleet.bundle.golden["device_features"][:1, 0]}
    answer = await fleet.post("edge", inputs, device=0)
    assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")


async def test_features_that_do_not_come_degrade_to_the_local_exit(fleet: Fleet) -> None:
    fleet.use(thresholds=NEVER, wait_ms=0)
    asked = await asyncio.gather(*(contribute(fleet, device, b"e", "scores") for device in (1, 2)))
    assert all(answer.need_features for answer in asked)
    late = await contribute(fleet, 4, b"e", "scores")
    assert (late.exit, late.degraded, late.degraded_reason) == (Exit.LOCAL, True, "no_features")


async def test_a_latecomer_gets_the_answer_and_is_charged_nothing(fleet: Fleet) -> None:
    fleet.use(thresholds=Thresholds(local=1.0), wait_ms=0)
    first, _ = await asyncio.gather(*(contribute(fleet, n, b"e", "scores") for n in (0, 1)))
    late = await contribute(fleet, 5, b"e", "scores")
    assert (late.label, late.exit, late.devices.tolist()) == (first.label, Exit.LOCAL, [n < 2 for n in range(6)])
    assert late.bytes_up == 0


async def test_scores_without_an_event_are_answered_as_far_as_they_go(fleet: Fleet) -> None:
    inputs = {"scores": fleet.bundle.golden["device_scores"][:1, 3]}
    (answer,) = await fleet.infer("edge", inputs, device=3)
    assert (answer.exit, answer.degraded, answer.degraded_reason) == (Exit.LOCAL, True, "no_features")
    assert answer.devices.tolist() == [n == 3 for n in range(6)]


async def test_the_surest_of_several_sure_devices_settles_the_event(fleet: Fleet) -> None:
    fleet.use(thresholds=Thresholds(device=1.0, local=0.0, edge=0.0), wait_ms=60_000)
    golden = fleet.bundle.golden
    scores = np.zeros((6, len(fleet.bundle.manifest.classes)), np.float32)
    scores[2, 1], scores[4, 3] = 5, 9
    answers = await asyncio.gather(
        *(
            fleet.infer(
                "edge",
                {
                    "scores": scores[n : n + 1],
                    "features": golden["device_features"][:1, n],
                    "event": np.array([b"e"], np.object_),
                    "answered": np.array([n in (2, 4)]),
                },
                device=n,
            )
            for n in range(6)
        )
    )
    told = [answers[n][0] for n in (0, 1, 3, 5)]
    assert {(answer.exit, answer.label, answer.degraded) for answer in told} == {(Exit.DEVICE, 3, False)}
    assert all(answer.devices.tolist() == [n == 4 for n in range(6)] for answer in told)
    assert {answers[n][0].label for n in (2, 4)} == {-1}  # they have answered their callers


async def test_its_status_shows_who_is_alive_and_what_it_holds(fleet: Fleet) -> None:
    fleet.use(thresholds=Thresholds(local=1.0), wait_ms=0)
    for n in range(4):
        await asyncio.gather(*(contribute(fleet, device, b"%d" % n, "scores") for device in (1, 4)))
    collector = service(fleet).status()["collector"]
    assert collector["alive"] == [n in (1, 4) for n in range(6)]
    assert (collector["pending"], collector["held"]) == (0, 4)


async def test_a_full_edge_refuses_and_the_device_answers_by_itself(tiny_bundle: Bundle) -> None:
    fleet = Fleet(Bundle.open(tiny_bundle.path), settings={"collector": {"bytes": 1}})
    fleet.start()
    fleet.use(thresholds=Thresholds(local=1.0))
    async with asyncio.TaskGroup() as group:
        first = group.create_task(contribute(fleet, 0, b"one", "scores"))
        while not service(fleet).collector.pending:  # noqa: ASYNC110 — a turn of the loop at a time
            await asyncio.sleep(0)
        inputs = {"scores": fleet.bundle.golden["device_scores"][:1, 0], "event": np.array([b"two"], np.object_)}
        response = await fleet.post("edge", inputs, device=0)
        assert (response.status_code, response.json()["code"]) == (429, "OVERLOADED")
        assert response.headers["retry-after"]
        (answer,) = (await fleet.see(devices=[1], rows=slice(0, 1), name="three", timeout=300_000))[0]
        assert (answer.exit, answer.degraded_reason) == (Exit.DEVICE, "refused")
        for device in range(1, 6):  # what is already open goes on
            group.create_task(contribute(fleet, device, b"one", "scores"))
    assert (first.result().exit, first.result().degraded) == (Exit.LOCAL, False)
    async with fleet.client("edge") as client:
        assert 'ddnn_shed_total{reason="collector"} 2.0' in (await client.get("/metrics")).text
    await fleet.close()


async def test_without_a_section_of_its_own_it_passes_the_features_on(passing: Fleet) -> None:
    answers = await passing.see(devices=range(3))
    want = passing.bundle.golden["cloud_scores"][:2].argmax(axis=-1).tolist()
    for row in answers:
        assert [(answer.exit, answer.label, answer.degraded) for answer in row] == [
            (Exit.CLOUD, n, False) for n in want
        ]
    passing.use(thresholds=NEVER, wait_ms=1)
    for row in await passing.see(devices=[0, 2], name="two of three"):
        assert [answer.devices.tolist() for answer in row] == [[True, False, True]] * 2
        assert not any(answer.degraded for answer in row)
    del passing.switch.apps["cloud"]
    for row in await passing.see(devices=range(3), name="no cloud"):
        assert {(answer.exit, answer.degraded) for answer in row} == {(Exit.LOCAL, True)}


async def test_an_edge_takes_its_own_devices_only(tmp_path: Path) -> None:
    import ddnn_edge.app
    from ddnn.settings import Settings

    bundle = make_bundle(tmp_path / "two-edges", devices=4, edges=[[0, 1], [2, 3]])
    fleet = Fleet(bundle)
    fleet.switch.apps["edge"] = ddnn_edge.app.create_app(Settings.load(bundle=bundle.path, index=1))
    scores = bundle.golden["device_scores"]
    refused = await fleet.post("edge", {"scores": scores[:1, 0]}, device=0)
    assert refused.status_code == 400
    assert "this edge joins the devices 2, 3" in refused.json()["error"]
    (answer,) = await fleet.infer("edge", {"scores": scores[:1, 3]}, device=3, max_exit="local")
    assert answer.devices.tolist() == [False, False, False, True]
    await fleet.close()


async def test_a_held_event_keeps_its_answer_and_nothing_of_its_requests(fleet: Fleet) -> None:
    fleet.use(thresholds=Thresholds(local=1.0))
    ((first, _), *_) = await fleet.see()
    held = list(service(fleet).collector._held.values())
    assert len(held) == 2
    for event in held:
        assert event.answer is event.best
        kept = (event.options.deadline, event.options.request_id, event.options.stages, event.inputs)
        assert not any((*kept, event.contributions, event.unheard, event.upper_timings))
    late = await fleet.infer("device-0", {"view": fleet.view(0, slice(0, 1)), "event": np.array([b"e0"], np.object_)})
    assert (late[0].label, late[0].exit) == (first.label, first.exit)
