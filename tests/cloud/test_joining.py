"""A cloud that joins several edges: who is waited for, whose answer an event gets, and what it refuses."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.policy import Policy, Thresholds
from ddnn.types import Answer, Array, Exit
from ddnn_cloud.app import CloudService
from ddnn_edge.app import EdgeService
from ddnn_lab.in_process import INFER, NEVER, Fleet
from networks import make_bundle

EDGES = [[0, 4], [1, 3, 5], [2]]
OF = {device: edge for edge, devices in enumerate(EDGES) for device in devices}
LOCALLY = Thresholds(local=1.0, edge=0.0)


@pytest.fixture(scope="module")
def three_edges(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "three-edges", edges=EDGES)


@pytest.fixture
async def fleet(three_edges: Bundle) -> AsyncIterator[Fleet]:
    fleet = Fleet(Bundle.open(three_edges.path))
    fleet.start()
    fleet.use(thresholds=NEVER)
    yield fleet
    await fleet.close()


@pytest.fixture
async def alone(three_edges: Bundle) -> AsyncIterator[Fleet]:
    """The cloud, asked by nobody but the test."""
    fleet = Fleet(Bundle.open(three_edges.path))
    fleet.start(cloud_alone=True)
    fleet.use(thresholds=NEVER)
    yield fleet
    await fleet.close()


def service(fleet: Fleet, name: str = "cloud") -> CloudService | EdgeService:
    found = fleet.switch.apps[name].state.service
    assert isinstance(found, CloudService | EdgeService)
    return found


def use(fleet: Fleet, name: str, **changes: Any) -> None:
    """Give one tier another policy than the others have."""
    service(fleet, name).policy = Policy(bundle=fleet.bundle.fingerprint, **{"wait_ms": 60_000, **changes})


def seen(fleet: Fleet) -> int:
    """A golden event that all devices see."""
    return int(fleet.bundle.golden["present"].all(axis=1).argmax())


def features(fleet: Fleet, edge: int, event: bytes | None) -> dict[str, Array]:
    """What an edge sends of an event that it is not sure of."""
    row = seen(fleet)
    inputs = {
        "features": fleet.bundle.golden["edge_features"][row : row + 1, edge],
        "present": np.ones((1, len(EDGES[edge])), np.bool_),
    }
    return inputs | ({} if event is None else {"event": np.array([event], np.object_)})


def told(edge: int, event: bytes, scores: list[float], exit: bytes = b"local") -> dict[str, Array]:
    """What an edge sends of an event that it has answered."""
    return {
        "event": np.array([event], np.object_),
        "scores": np.array([scores], np.float32),
        "exit": np.array([exit], np.object_),
        "present": np.arange(len(EDGES[edge]))[None] == 0,
        "answered": np.ones(1, np.bool_),
    }


async def send(fleet: Fleet, edge: int, inputs: dict[str, Array], **parameters: Any) -> Answer:
    (answer,) = await fleet.infer("cloud", inputs, edge=edge, **parameters)
    return answer


def mask(*devices: int) -> list[bool]:
    return [device in devices for device in range(6)]


async def test_the_features_of_all_edges_are_fused_as_torch_fused_them(alone: Fleet) -> None:
    answers = await asyncio.gather(*(send(alone, edge, features(alone, edge, b"e")) for edge in (2, 0, 1)))
    want = int(alone.bundle.golden["cloud_scores"][seen(alone)].argmax())
    for answer in answers:
        assert (answer.exit, answer.label, answer.degraded) == (Exit.CLOUD, want, False)
        assert answer.devices.all()


async def test_an_event_of_its_own_waits_for_nobody(alone: Fleet) -> None:
    answer = await send(alone, 1, features(alone, 1, None))
    assert (answer.exit, answer.devices.tolist()) == (Exit.CLOUD, mask(*EDGES[1]))


async def test_a_repeat_changes_nothing_and_is_answered_too(alone: Fleet) -> None:
    first, again = (asyncio.create_task(send(alone, 0, features(alone, 0, b"e"))) for _ in range(2))
    await alone.switch.reached("cloud", 2)
    answers = await asyncio.gather(*(send(alone, edge, features(alone, edge, b"e")) for edge in (1, 2)), first, again)
    assert len({answer.probabilities.tobytes() for answer in answers}) == 1
    assert service(alone).collector.held == 1


async def test_a_late_edge_gets_the_answer_already_given(alone: Fleet) -> None:
    use(alone, "cloud", wait_ms=500)
    first, _ = await asyncio.gather(*(send(alone, edge, features(alone, edge, b"e")) for edge in (0, 2)))
    late = await send(alone, 1, features(alone, 1, b"e"))
    assert late.devices.tolist() == first.devices.tolist() == mask(*EDGES[0], *EDGES[2])
    assert (late.label, late.exit, late.bytes_up) == (first.label, Exit.CLOUD, 0)


async def test_one_sure_edge_answers_for_all_and_nothing_is_fused(fleet: Fleet) -> None:
    for name in ("edge-1", "cloud"):
        use(fleet, name, thresholds=LOCALLY)
    rows = slice(seen(fleet), seen(fleet) + 1)
    answers = [given[0] for given in await fleet.see(rows=rows)]
    local = fleet.bundle.golden["local_scores"][rows, 1].argmax(axis=1)
    assert {(answer.exit, answer.label, answer.degraded) for answer in answers} == {(Exit.LOCAL, int(local[0]), False)}
    assert all(answer.devices.tolist() == mask(*EDGES[1]) for answer in answers)
    assert service(fleet).metrics.batch_size.labels().count == 0


async def test_sure_edges_tell_the_cloud_and_nobody_waits(fleet: Fleet) -> None:
    fleet.use(thresholds=LOCALLY)
    rows = slice(seen(fleet), seen(fleet) + 1)
    answers = [given[0] for given in await fleet.see(rows=rows)]
    for device, answer in enumerate(answers):
        assert (answer.exit, answer.devices.tolist()) == (Exit.LOCAL, mask(*EDGES[OF[device]]))
    await fleet.switch.reached("cloud", 3)
    row = 4 * len(fleet.bundle.manifest.classes)
    assert sum(answer.bytes_up for answer in answers) == 6 * row + 3 * row + 6  # all devices', all edges', present
    for name in ("edge-0", "edge-1", "edge-2"):
        await service(fleet, name).engine.offload.close()  # type: ignore[union-attr]
    assert (service(fleet).collector.held, service(fleet).collector.pending) == (1, 0)


async def test_a_sure_device_settles_the_event_for_the_other_edges_too(fleet: Fleet) -> None:
    sure = Policy(
        bundle=fleet.bundle.fingerprint, thresholds=Thresholds(device=1.0, local=0.0, edge=0.0), wait_ms=60_000
    )
    for name in ("device-2", "edge-2", "cloud"):
        fleet.switch.apps[name].state.service.policy = sure
    rows = slice(seen(fleet), seen(fleet) + 1)
    answers = [given[0] for given in await fleet.see(rows=rows)]
    label = int(fleet.bundle.golden["device_scores"][rows, 2].argmax())
    assert {(answer.exit, answer.label, answer.degraded) for answer in answers} == {(Exit.DEVICE, label, False)}
    assert all(answer.devices.tolist() == mask(2) for answer in answers)


async def test_callers_at_every_edge_hear_the_version_of_whoever_was_sure(fleet: Fleet) -> None:
    """The other edges are behind; the edge's criterion cannot be used above."""
    rows = slice(seen(fleet), seen(fleet) + 1)
    ahead = Policy(
        bundle=fleet.bundle.fingerprint,
        version=8,
        thresholds=Thresholds(device=1.0, local=0.0, edge=0.0),
        wait_ms=60_000,
        criterion="margin",
    )
    for name in ("device-2", "edge-2", "cloud"):
        fleet.switch.apps[name].state.service.policy = ahead
    answers = [given[0] for given in await fleet.see(rows=rows)]
    assert {(answer.exit, answer.policy_version) for answer in answers} == {(Exit.DEVICE, 8)}
    fleet.use(thresholds=NEVER)
    for name in ("edge-1", "cloud"):
        use(fleet, name, thresholds=LOCALLY, version=9, criterion="agreement")
    answers = [given[0] for given in await fleet.see(rows=rows, name="f")]
    assert {(answer.exit, answer.policy_version, answer.degraded) for answer in answers} == {(Exit.LOCAL, 9, False)}


async def test_the_surest_of_several_sure_edges_is_the_event_s_and_its_exit_too(alone: Fleet) -> None:
    use(alone, "cloud", thresholds=Thresholds(device=1.0, edge=1.0))
    rest = [0.0] * (len(alone.bundle.manifest.classes) - 2)
    waiting = asyncio.create_task(send(alone, 2, features(alone, 2, b"e")))
    await alone.switch.reached("cloud")
    for edge, scores, exit in ((0, [1.0, 0.0], b"edge"), (1, [0.0, 9.0], b"device")):
        noted = await send(alone, edge, told(edge, b"e", scores + rest, exit))
        assert (noted.label, noted.degraded) == (-1, False)
    answer = await waiting
    assert (answer.exit, answer.label, answer.devices.tolist()) == (Exit.DEVICE, 1, mask(1))


async def test_a_dead_edge_costs_its_own_devices_and_the_wait(fleet: Fleet) -> None:
    fleet.use(thresholds=NEVER, wait_ms=1)
    del fleet.switch.apps["edge-1"]
    rows = slice(seen(fleet), seen(fleet) + 1)
    answers = [given[0] for given in await fleet.see(rows=rows)]
    for device, answer in enumerate(answers):
        if OF[device] == 1:
            assert (answer.exit, answer.degraded_reason) == (Exit.DEVICE, "unreachable")
        else:
            assert (answer.exit, answer.degraded) == (Exit.CLOUD, False)
            assert not answer.devices[EDGES[1]].any()


async def test_an_edge_dead_for_a_few_events_is_not_waited_for(alone: Fleet) -> None:
    use(alone, "cloud", wait_ms=1)
    for n in range(4):
        await asyncio.gather(*(send(alone, edge, features(alone, edge, b"%d" % n)) for edge in (0, 1)))
    assert service(alone).status()["collector"]["alive"] == [True, True, False]
    use(alone, "cloud", wait_ms=60_000)
    answers = await asyncio.gather(*(send(alone, edge, features(alone, edge, b"next")) for edge in (0, 1)))
    assert all(answer.devices.tolist() == mask(*EDGES[0], *EDGES[1]) for answer in answers)
    text = service(alone).metrics.text().decode()
    assert 'ddnn_fusion_missing_total{device="2"} 5.0' in text


async def test_a_dead_cloud_leaves_every_edge_its_own_exit(fleet: Fleet) -> None:
    del fleet.switch.apps["cloud"]
    rows = slice(seen(fleet), seen(fleet) + 1)
    for device, (answer,) in enumerate(await fleet.see(rows=rows)):
        assert (answer.exit, answer.degraded_reason) == (Exit.EDGE, "unreachable")
        assert answer.label == int(fleet.bundle.golden["edge_scores"][rows, OF[device]].argmax())


async def test_an_event_that_waits_for_an_edge_holds_back_no_other(fleet: Fleet) -> None:
    lonely = asyncio.create_task(send(fleet, 0, features(fleet, 0, b"lonely")))
    await fleet.switch.reached("cloud")
    await fleet.see(name="whole")
    assert not lonely.done()
    service(fleet).give_up()
    assert (await lonely).devices.tolist() == mask(*EDGES[0])


async def test_a_draining_cloud_takes_what_an_event_waits_for_and_nothing_new(alone: Fleet) -> None:
    first = asyncio.create_task(send(alone, 0, features(alone, 0, b"e")))
    await alone.switch.reached("cloud")
    while not service(alone).collector.pending:  # noqa: ASYNC110 — a turn of the loop at a time
        await asyncio.sleep(0)
    service(alone).draining = True
    assert not service(alone).idle
    response = await alone.post("cloud", features(alone, 1, b"new"), edge=1)
    assert (response.status_code, response.json()["code"]) == (503, "UNAVAILABLE")
    await asyncio.gather(*(send(alone, edge, features(alone, edge, b"e")) for edge in (1, 2)))
    assert (await first).devices.all()
    assert service(alone).idle


async def test_a_full_cloud_refuses_and_the_edge_answers_by_itself(three_edges: Bundle) -> None:
    fleet = Fleet(Bundle.open(three_edges.path), settings={"collector": {"events": 1}})
    fleet.start()
    fleet.use(thresholds=NEVER)
    first = asyncio.create_task(send(fleet, 0, features(fleet, 0, b"one")))
    await fleet.switch.reached("cloud")
    (answer,) = (await fleet.see(devices=[2], rows=slice(seen(fleet), seen(fleet) + 1), timeout=300_000))[0]
    assert (answer.exit, answer.degraded_reason) == (Exit.EDGE, "refused")
    service(fleet).give_up()
    await first
    await fleet.close()


async def test_a_hurried_contribution_gets_the_answer_of_those_that_are_here(alone: Fleet) -> None:
    waiting = asyncio.create_task(send(alone, 0, features(alone, 0, b"e")))
    await alone.switch.reached("cloud")
    answer = await send(alone, 1, features(alone, 1, b"e"), timeout=2_000_000)
    assert (answer.exit, answer.devices.tolist()) == (Exit.CLOUD, mask(*EDGES[0], *EDGES[1]))
    service(alone).give_up()
    assert (await waiting).devices.tolist() == mask(*EDGES[0], *EDGES[1])


@pytest.mark.parametrize(
    ("edge", "change", "words"),
    [
        (None, {}, "parameter 'edge' is missing; this cloud joins the edges 0 to 2"),
        (3, {}, "parameter 'edge' is 3; expected a whole number from 0 to 2"),
        (1, {}, "input tensor 'present' is BOOL [1, 2]; expected BOOL [1, 3]"),
        (0, {"features": None}, "input tensor 'features' is missing"),
        (0, {"present": np.zeros((1, 2), np.bool_)}, "has a row, 0, in which no device took part"),
        (0, {"answered": np.ones(1, np.bool_)}, "expected 'event' with it, and no 'features'"),
        (0, {"event": np.array([b""], np.object_)}, "an id of 0 bytes"),
    ],
)
async def test_what_is_no_contribution_is_refused(
    alone: Fleet, edge: int | None, change: dict[str, Array | None], words: str
) -> None:
    inputs = {name: value for name, value in {**features(alone, 0, b"e"), **change}.items() if value is not None}
    response = await alone.post("cloud", inputs, **({} if edge is None else {"edge": edge}))
    assert (response.status_code, response.json()["code"]) == (400, "BAD_INPUT")
    assert words in response.json()["error"]
    assert service(alone).collector.pending == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"exit": None}, "input tensor 'exit' is missing"),
        ({"exit": np.array([b"cloud"], np.object_)}, "'exit' holds b'cloud'; expected one of device, local, edge"),
        ({"scores": None}, "input tensor 'scores' is missing"),
        ({"scores": np.full((1, 2), np.nan, np.float32)}, "scores"),
        ({"event": None}, "expected 'event' with it"),
        ({"present": None}, "input tensor 'present' is missing"),
        ({"answered": np.zeros(1, np.bool_)}, "has a row that is false; expected 'features' instead"),
        ({"answered": np.ones(2, np.bool_)}, "input tensor 'answered' is BOOL [2]"),
    ],
)
async def test_what_is_no_answer_of_an_edge_is_refused(
    alone: Fleet, change: dict[str, Array | None], words: str
) -> None:
    scores = [0.0] * len(alone.bundle.manifest.classes)
    inputs = {name: value for name, value in {**told(0, b"e", scores), **change}.items() if value is not None}
    response = await alone.post("cloud", inputs, edge=0)
    assert (response.status_code, response.json()["code"]) == (400, "BAD_INPUT")
    assert words in response.json()["error"]


async def test_an_edge_takes_no_answer_without_its_event(fleet: Fleet) -> None:
    scores = fleet.bundle.golden["device_scores"][:1, 0]
    response = await fleet.post("edge-0", {"scores": scores, "answered": np.ones(1, np.bool_)}, device=0)
    assert response.status_code == 400
    assert "'answered' comes alone" in response.json()["error"]


async def test_its_metadata_says_what_it_takes_and_who_joins_whom(alone: Fleet) -> None:
    async with alone.client("cloud") as client:
        metadata = (await client.get("/v2/models/ddnn")).json()
        example = await client.post(INFER, json=service(alone).request_example)
    inputs = {entry["name"]: entry for entry in metadata["inputs"]}
    assert list(inputs) == ["features", "present", "event", "scores", "exit", "answered"]
    assert inputs["present"]["shape"] == [-1, -1]  # edges differ
    assert [name for name, entry in inputs.items() if not entry.get("parameters")] == ["present"]
    assert metadata["parameters"]["edges"] == EDGES
    assert example.status_code == 200, example.text


@pytest.fixture
async def two_clouds(three_edges: Bundle) -> AsyncIterator[Fleet]:
    fleet = Fleet(Bundle.open(three_edges.path), clouds=2)
    fleet.start()
    fleet.use(thresholds=NEVER)
    yield fleet
    await fleet.close()


async def see_all(fleet: Fleet, name: str, events: int = 8) -> Counter[str]:
    """All devices see events, one after the other, which the cloud answers with all of them; who was asked by edges."""
    fleet.switch.requests.clear()
    row = seen(fleet)
    for number in range(events):
        answers = await fleet.see(rows=slice(row, row + 1), name=f"{name} {number} ")
        for answer in (each for (each,) in answers):
            assert (answer.exit, answer.degraded_reason) == (Exit.CLOUD, "")
            assert answer.devices.all()
    hosts = (request.url.host for request in fleet.switch.requests if request.url.path == INFER)
    return Counter(host for host in hosts if host.startswith("cloud"))


async def test_the_parts_of_an_event_find_each_other_at_one_of_several_clouds(two_clouds: Fleet) -> None:
    asked = await see_all(two_clouds, "whole")
    assert asked.keys() == {"cloud-0", "cloud-1"}
    assert all(count % len(EDGES) == 0 for count in asked.values())


async def test_with_a_cloud_gone_its_events_find_each_other_at_another(two_clouds: Fleet) -> None:
    gone = two_clouds.switch.apps.pop("cloud-1")
    asked = await see_all(two_clouds, "one less")
    assert asked["cloud-0"] == 8 * len(EDGES)
    await gone.state.service.close()


async def test_what_edges_have_answered_is_told_to_the_event_s_home(two_clouds: Fleet) -> None:
    """One edge is never sure, the others always: it hears of them, at whichever cloud."""
    two_clouds.use(thresholds=LOCALLY)
    use(two_clouds, "edge-0", thresholds=NEVER)
    row = seen(two_clouds)
    for number in range(6):
        answers = await two_clouds.see(rows=slice(row, row + 1), name=f"told {number} ")
        assert {answers[device][0].exit for device in EDGES[0]} == {Exit.LOCAL}
        assert not any(answer.degraded for (answer,) in answers)
