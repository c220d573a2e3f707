"""Audits in a fleet: compared in the background, without delay, change or trace in what is answered."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.policy import Audits, Promise, PromisedRecall, Thresholds
from ddnn.serving import audits as audits_module
from ddnn.serving.service import Service
from ddnn.types import Exit
from ddnn_lab.in_process import NEVER, Fleet, Switch
from networks import TOPOLOGIES, make_bundle

ALL = Audits(share=1.0, per_second=1000, burst=1000)
LOCAL = Thresholds(local=1.0)
EDGE = Thresholds(local=0.0, edge=1.0)


class SlowCloud(Switch):
    """A cloud that answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "cloud":
            await self.may_answer.wait()
        return await super().handle_async_request(request)


@pytest.fixture(scope="module")
def lone_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """One device."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "lone", **TOPOLOGIES["d"])


@pytest.fixture
async def lone(lone_bundle: Bundle) -> AsyncIterator[Fleet]:
    fleet = Fleet(Bundle.open(lone_bundle.path))
    fleet.start()
    yield fleet
    await fleet.close()


@pytest.fixture
async def slow(tiny_bundle: Bundle) -> AsyncIterator[Fleet]:
    fleet = Fleet(Bundle.open(tiny_bundle.path), SlowCloud())
    fleet.start()
    yield fleet
    await fleet.close()


def service(fleet: Fleet, host: str = "edge") -> Service:
    found = fleet.switch.apps[host].state.service
    assert isinstance(found, Service)
    return found


def counted(fleet: Fleet, metric: str, host: str = "edge") -> dict[tuple[str, ...], int]:
    """What is not 0 of a counter, by its labels."""
    families = [family for family in service(fleet, host).metrics.registry.collect() if family.name == metric]
    return {
        tuple(sample.labels.values()): int(sample.value)
        for family in families
        for sample in family.samples
        if sample.value
    }


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110 — a turn of the loop at a time
            await asyncio.sleep(0)


async def audited(fleet: Fleet, events: int, host: str = "edge") -> dict[tuple[str, ...], int]:
    """The count of audits once there are so many."""
    await until(lambda: sum(counted(fleet, "ddnn_audits", host).values()) == events)
    return counted(fleet, "ddnn_audits", host)


def expected(fleet: Fleet, exit: Exit, rows: slice) -> dict[tuple[str, ...], int]:
    """How the golden events of `rows` compare."""
    golden = fleet.bundle.golden
    below = golden[f"{exit}_scores"][rows, 0].argmax(axis=-1)
    same = int((below == golden["cloud_scores"][rows].argmax(axis=-1)).sum())
    counts = {(exit.value, "same"): same, (exit.value, "different"): len(below) - same}
    return {labels: count for labels, count in counts.items() if count}


@pytest.mark.parametrize(("thresholds", "exit"), [(LOCAL, Exit.LOCAL), (EDGE, Exit.EDGE)])
@pytest.mark.parametrize("offload", ["staged", "eager"])
async def test_audits_compare_and_leave_the_answers_as_they_are(
    fleet: Fleet, thresholds: Thresholds, exit: Exit, offload: str
) -> None:
    rows = slice(0, 16)
    fleet.use(thresholds=thresholds, offload=offload)
    plain = await fleet.see(rows=rows, name="plain")
    fleet.use(thresholds=thresholds, offload=offload, audits=ALL)
    with_audits = await fleet.see(rows=rows, name="audited")
    for one, other in zip(plain, with_audits, strict=True):
        assert [(a.label, a.exit, a.confidence, a.degraded, a.bytes_up) for a in one] == [
            (a.label, a.exit, a.confidence, a.degraded, a.bytes_up) for a in other
        ]
    assert await audited(fleet, 16) == expected(fleet, exit, rows)
    # Audits are no answers, nor offloads.
    assert not counted(fleet, "ddnn_exits", "cloud")
    assert counted(fleet, "ddnn_exits") == {(exit.value, "sure"): 32}
    assert not counted(fleet, "ddnn_offloads")
    assert not counted(fleet, "ddnn_uplink_bytes")
    assert counted(fleet, "ddnn_audit_bytes")[("up",)] > 16 * 6


async def test_features_that_only_an_audit_wants_are_on_no_account_of_the_device(fleet: Fleet) -> None:
    fleet.use(thresholds=LOCAL)
    await fleet.see(rows=slice(0, 4), name="plain")
    plain = counted(fleet, "ddnn_uplink_bytes", "device-3")
    fleet.use(thresholds=LOCAL, audits=ALL)
    await fleet.see(rows=slice(0, 4), name="plane")
    await audited(fleet, 4)
    assert counted(fleet, "ddnn_offloads", "device-3") == {("ok",): 2}
    assert counted(fleet, "ddnn_uplink_bytes", "device-3")[("up",)] == 2 * plain[("up",)]
    await until(lambda: ("up",) in counted(fleet, "ddnn_audit_bytes", "device-3"))


async def test_a_lone_device_audits_its_own_exit(lone: Fleet) -> None:
    lone.use(thresholds=Thresholds(device=1.0), audits=ALL)
    (answers,) = await lone.see(rows=slice(0, 8))
    assert {(answer.exit, answer.bytes_up, answer.degraded) for answer in answers} == {(Exit.DEVICE, 0, False)}
    assert await audited(lone, 8, "device-0") == expected(lone, Exit.DEVICE, slice(0, 8))
    for host in ("edge", "cloud"):
        assert not counted(lone, "ddnn_exits", host)
        assert not counted(lone, "ddnn_audits", host)
    assert service(lone, "edge").status()["audits"]["exits"] == {}


async def test_no_answer_waits_for_its_audit(slow: Fleet) -> None:
    slow.use(thresholds=EDGE, audits=ALL)
    answers = await slow.see(rows=slice(0, 4))
    assert {(answer.exit, answer.degraded) for row in answers for answer in row} == {(Exit.EDGE, False)}
    assert not counted(slow, "ddnn_audits")
    assert service(slow).idle  # a drain does not wait for audits either
    assert isinstance(slow.switch, SlowCloud)
    slow.switch.may_answer.set()
    assert await audited(slow, 4) == expected(slow, Exit.EDGE, slice(0, 4))


async def test_a_tier_ends_though_audits_are_under_way(slow: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddnn.serving.offload._CLOSING_S", 0.01)
    slow.use(thresholds=EDGE, audits=ALL)
    await slow.see(rows=slice(0, 2))
    service(slow).draining = True
    service(slow).give_up()
    await service(slow).close()
    assert await audited(slow, 2) == {("edge", "failed"): 2}


async def test_the_bucket_bounds_audits_and_counts_what_it_leaves_out(fleet: Fleet) -> None:
    fleet.use(thresholds=EDGE, audits=Audits(share=1.0, per_second=1e-6, burst=3))
    await fleet.see(rows=slice(0, 8))
    counts = await audited(fleet, 8)
    assert counts.pop(("edge", "skipped")) == 5
    assert sum(counts.values()) == 3


async def test_the_background_bounds_audits_too(tiny_bundle: Bundle) -> None:
    fleet = Fleet(Bundle.open(tiny_bundle.path), SlowCloud(), settings={"max_background": 1})
    fleet.start()
    fleet.use(thresholds=EDGE, audits=ALL)
    for name in ("one", "two", "three"):
        await fleet.see(rows=slice(0, 1), name=name)
    assert counted(fleet, "ddnn_audits") == {("edge", "skipped"): 2}
    assert isinstance(fleet.switch, SlowCloud)
    fleet.switch.may_answer.set()
    await audited(fleet, 3)
    fleet.use(thresholds=LOCAL, audits=ALL)  # one answered event waits for its features, the others have no room
    await fleet.see(rows=slice(0, 4), name="local")
    await until(lambda: counted(fleet, "ddnn_audits").get(("local", "skipped")) == 3)
    await fleet.close()


async def test_a_share_is_audited_the_same_events_each_time(fleet: Fleet) -> None:
    fleet.use(thresholds=EDGE, audits=ALL.model_copy(update={"share": 0.4}))
    picked = []
    for _ in range(2):
        service(fleet).collector._held.clear()  # type: ignore[union-attr]
        await fleet.see(rows=slice(0, 16), name="again")
        await until(lambda: not service(fleet).engine.offload._tasks)  # type: ignore[union-attr]
        picked.append(sum(counted(fleet, "ddnn_audits").values()))
    assert 0 < picked[0] < 16
    assert picked[1] == 2 * picked[0]


@pytest.mark.parametrize("thresholds", [LOCAL, EDGE])
async def test_a_dead_cloud_is_a_failed_audit_and_nothing_else(fleet: Fleet, thresholds: Thresholds) -> None:
    del fleet.switch.apps["cloud"]
    fleet.use(thresholds=thresholds, audits=ALL)
    exit = "local" if thresholds is LOCAL else "edge"
    for name in ("one", "two"):
        answers = await fleet.see(rows=slice(0, 4), name=name)
        assert {(answer.exit.value, answer.degraded) for row in answers for answer in row} == {(exit, False)}
    assert await audited(fleet, 8) == {(exit, "failed"): 8}
    assert service(fleet).status()["audits"]["exits"][exit]["audited"] == 0


async def test_features_that_do_not_come_fail_the_audit(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits_module, "AUDIT_S", 0.01)
    fleet.use(thresholds=LOCAL, audits=ALL, wait_ms=0)
    inputs = {"scores": fleet.bundle.golden["device_scores"][:1, 0], "event": np.array([b"e"], np.object_)}
    (answer,) = await fleet.infer("edge", inputs, device=0)  # a caller of its own, who sends none
    assert (answer.exit, answer.need_features) == (Exit.LOCAL, True)
    (again,) = await fleet.infer("edge", inputs, device=0)
    assert (again.label, again.need_features) == (answer.label, False)
    assert await audited(fleet, 1) == {("local", "failed"): 1}


async def test_features_that_nobody_asked_for_are_acknowledged_and_dropped(fleet: Fleet) -> None:
    inputs = {"features": fleet.bundle.golden["device_features"][:1, 0], "event": np.array([b"?"], np.object_)}
    (row,) = await fleet.infer("edge", inputs, device=0, audit=True)
    assert (row.label, row.need_features) == (-1, False)
    refused = await fleet.post("edge", inputs, device=0, audit="yes")
    assert refused.status_code == 400
    assert "parameter 'audit' is 'yes'; expected true or false" in refused.json()["error"]


@pytest.mark.parametrize("own", [{"threshold": 0.99}, {"max_exit": "edge"}])
async def test_what_is_decided_on_terms_of_its_own_is_not_audited(fleet: Fleet, own: dict[str, Any]) -> None:
    fleet.use(thresholds=EDGE, audits=ALL)
    await fleet.see(rows=slice(0, 2), **own)
    await fleet.see(rows=slice(2, 4), name="by the policy")
    await audited(fleet, 2)
    assert service(fleet).status()["audits"]["exits"]["edge"]["confidence"]["counts"].count(0) < 10
    assert service(fleet).status()["audits"]["exits"]["edge"]["audited"] == 2


async def test_a_broken_promise_raises_one_alarm_and_another_policy_begins_anew(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    rows = slice(0, 24)
    different = expected(fleet, Exit.EDGE, rows)[("edge", "different")]
    assert different > 4
    promise = Promise(disagreement={Exit.LOCAL: 0.5, Exit.EDGE: 0.001})
    fleet.use(thresholds=EDGE, audits=ALL, promise=promise)
    with caplog.at_level(logging.WARNING, "ddnn"):
        await fleet.see(rows=rows)
        await audited(fleet, 24)
    assert [record.message.split(":")[0] for record in caplog.records] == ["alarm"]
    assert "0.10 % that policy version 1 promised" in caplog.text
    found = service(fleet).status()["audits"]
    assert found["limit"] == pytest.approx(200)
    known = found["exits"]["edge"]
    assert (known["audited"], known["different"], known["promised"]) == (24, different, 0.001)
    assert known["alarm"]["audits"] <= 24
    assert known["e_value"] >= found["limit"]
    async with fleet.client("edge") as client:
        text = (await client.get("/metrics")).text
    assert 'ddnn_audit_alarm{exit="edge"} 1.0' in text
    assert f'ddnn_disagreement{{bound="share",exit="edge"}} {different / 24}' in text
    fleet.use(thresholds=EDGE, audits=ALL, promise=promise, version=2)
    anew = service(fleet).status()["audits"]["exits"]["edge"]
    assert (anew["audited"], anew["alarm"]) == (0, None)


async def test_audits_watch_the_recall_of_promised_classes(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    rows = slice(0, 24)
    golden = fleet.bundle.golden
    edge, cloud = golden["edge_scores"][rows, 0].argmax(axis=-1), golden["cloud_scores"][rows].argmax(axis=-1)
    missed, counts = np.bincount(cloud[edge != cloud]), np.bincount(cloud)
    label = int(missed.argmax())
    recall = {label: PromisedRecall(least=0.9, events=500, missed=0.0001)}
    fleet.use(thresholds=EDGE, audits=ALL, promise=Promise(recall=recall))
    with caplog.at_level(logging.WARNING, "ddnn"):
        await fleet.see(rows=rows)
        await audited(fleet, 24)
    assert f"calls class {label} are that class less often than the 99.99 %" in caplog.text
    known = service(fleet).status()["audits"]["classes"][str(label)]
    assert (known["audited"], known["different"]) == (counts[label], missed[label])
    async with fleet.client("edge") as client:
        text = (await client.get("/metrics")).text
    assert f'ddnn_audit_class_alarm{{class="{label}"}} 1.0' in text
    assert f'ddnn_audit_recall{{bound="share",class="{label}"}} {1 - missed[label] / counts[label]}' in text


async def test_where_an_event_is_not_one_tiers_alone_nothing_is_audited_and_the_status_says_so(tmp_path: Path) -> None:
    fleet = Fleet(make_bundle(tmp_path / "f", **TOPOLOGIES["f"]))
    fleet.start()
    fleet.use(thresholds=LOCAL, audits=ALL)
    await fleet.see()
    assert "several edges" in service(fleet, "edge-0").status()["audits"]["off"]
    assert not counted(fleet, "ddnn_audits", "edge-0")
    await fleet.close()


async def test_of_several_devices_none_audits_by_itself(fleet: Fleet) -> None:
    fleet.use(thresholds=Thresholds(device=1.0), audits=ALL)
    await fleet.see(rows=slice(0, 2))
    assert service(fleet, "device-0").status()["audits"] is None
    assert not counted(fleet, "ddnn_audits")
    fleet.use(thresholds=NEVER, audits=ALL)
    await fleet.see(rows=slice(0, 2), name="up")
    assert not counted(fleet, "ddnn_audits")  # the cloud's own answers need none
