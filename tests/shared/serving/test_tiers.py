"""Three tiers in one process, joined by ASGI transports: exits, stages and failures."""

import asyncio

import httpx
import numpy as np
import pytest

from ddnn.policy import Thresholds
from ddnn.serving.event import Event
from ddnn.settings import Settings
from ddnn.types import Exit, Tier
from ddnn.wire import encode_request
from ddnn_device.app import create_app
from ddnn_lab.in_process import INFER, NEVER, Fleet


def golden_label(fleet: Fleet, exit: str, row: int) -> int:
    scores = fleet.bundle.golden[f"{exit}_scores"][row]
    return int((scores[0] if scores.ndim > 1 else scores).argmax())


@pytest.mark.parametrize(
    ("thresholds", "exit"),
    [(Thresholds(local=1.0), Exit.LOCAL), (Thresholds(local=0.0, edge=1.0), Exit.EDGE), (NEVER, Exit.CLOUD)],
)
@pytest.mark.parametrize("offload", ["staged", "eager"])
async def test_six_devices_get_one_answer_from_the_exit_that_is_sure(
    fleet: Fleet, thresholds: Thresholds, exit: Exit, offload: str
) -> None:
    fleet.use(thresholds=thresholds, offload=offload)
    for row, answers in enumerate(zip(*await fleet.see(), strict=True)):
        assert {answer.exit for answer in answers} == {exit}
        assert {answer.label for answer in answers} == {golden_label(fleet, exit.value, row)}
        assert all(answer.devices.all() and not answer.degraded for answer in answers)


async def test_the_bytes_of_an_event_add_up_over_its_devices(fleet: Fleet) -> None:
    topology, classes = fleet.bundle.topology, len(fleet.bundle.manifest.classes)
    device, edge = (topology.features(tier) for tier in (Tier.DEVICE, Tier.EDGE))
    assert edge is not None
    assert device is not None
    scores, features = 6 * 4 * classes, 6 * device.bytes
    cloud = edge.bytes + 6
    for offload, thresholds, expected in (
        ("staged", Thresholds(local=1.0), scores),
        ("eager", Thresholds(local=1.0), scores + features),
        ("staged", Thresholds(local=0.0, edge=1.0), scores + features),
        ("staged", NEVER, scores + features + cloud),
    ):
        fleet.use(thresholds=thresholds, offload=offload)
        answers = await fleet.see(rows=slice(0, 1), name=f"{offload}{expected}")
        assert sum(answer[0].bytes_up for answer in answers) == expected


async def test_sure_rows_leave_and_the_rest_go_on(fleet: Fleet) -> None:
    rows = slice(0, 8)
    first = await fleet.see(rows=rows, name="look", max_exit="local")
    middle = float(np.median([1 - answer.confidence for answer in first[0]]))
    answers = (await fleet.see(rows=rows, name="go", threshold=middle))[0]
    fleet.use(thresholds=Thresholds(local=middle, edge=0.0))
    answers = (await fleet.see(rows=rows, name="policy"))[0]
    assert {answer.exit for answer in answers} == {Exit.LOCAL, Exit.CLOUD}
    assert [answer.exit is Exit.LOCAL for answer in answers] == [1 - a.confidence < middle for a in first[0]]


async def test_a_view_without_an_event_is_an_event_of_its_own(fleet: Fleet) -> None:
    (answer,) = await fleet.infer("device-4", {"view": fleet.view(4, slice(0, 1))})
    assert answer.exit is Exit.CLOUD
    assert answer.devices.tolist() == [n == 4 for n in range(6)]
    posts = [request.url.host for request in fleet.switch.requests]
    assert posts == ["device-4", "edge", "cloud"]


async def test_absent_devices_show_and_do_not_degrade(fleet: Fleet) -> None:
    fleet.use(thresholds=NEVER, wait_ms=1)
    for answers in await fleet.see(devices=[0, 2, 3, 5]):
        assert not answers[0].degraded
        assert answers[0].devices.tolist() == [True, False, True, True, False, True]


async def test_a_dead_cloud_degrades_what_would_have_gone_up_and_still_answers(fleet: Fleet) -> None:
    del fleet.switch.apps["cloud"]
    for row, answers in enumerate(zip(*await fleet.see(), strict=True)):
        assert {(a.exit, a.degraded, a.degraded_reason) for a in answers} == {(Exit.EDGE, True, "unreachable")}
        assert {a.label for a in answers} == {golden_label(fleet, "edge", row)}
    fleet.use(thresholds=Thresholds(local=0.0, edge=1.0))
    for answers in zip(*await fleet.see(name="sure"), strict=True):
        assert not any(answer.degraded for answer in answers)


async def test_a_dead_edge_leaves_every_device_its_own_exit(fleet: Fleet) -> None:
    del fleet.switch.apps["edge"]
    for device, answers in enumerate(await fleet.see()):
        assert [(a.exit, a.degraded, a.degraded_reason) for a in answers] == [(Exit.DEVICE, True, "unreachable")] * 2
        scores = fleet.bundle.golden["device_scores"][:2, device]
        assert [answer.label for answer in answers] == scores.argmax(axis=-1).tolist()


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (httpx.Response(500, json={"error": "no"}), "error"),
        (httpx.Response(429, json={"error": "full"}, headers={"Retry-After": "60"}), "refused"),
        (httpx.Response(409, json={"error": "other"}), "other_bundle"),
        (httpx.Response(401, json={"error": "who"}), "unauthorized"),
        (httpx.Response(200, content=b"garbage"), "bad_answer"),
        (httpx.Response(200, json={"model_name": "ddnn", "outputs": []}), "bad_answer"),
    ],
)
async def test_whatever_the_cloud_says_the_edge_answers_and_names_the_reason(
    fleet: Fleet, response: httpx.Response, reason: str
) -> None:
    fleet.switch.instead["cloud"] = lambda request: response
    answers = await fleet.see()
    assert {(a.exit, a.degraded_reason) for row in answers for a in row} == {(Exit.EDGE, reason)}


async def test_an_edge_that_forgot_the_event_degrades_to_the_devices_exit(fleet: Fleet) -> None:
    fleet.use(thresholds=NEVER, wait_ms=1)
    edge = fleet.switch.apps["edge"].state.service
    ask = edge.collector.ask

    def ask_and_forget(event: Event, what: str) -> None:
        ask(event, what)
        edge.collector._open.clear()
        edge.collector._asked.clear()

    edge.collector.ask = ask_and_forget
    (answers,) = await fleet.see(devices=[1], rows=slice(0, 1))
    assert (answers[0].exit, answers[0].degraded_reason) == (Exit.DEVICE, "gone")


async def test_max_exit_bounds_the_answer_without_degrading_it(fleet: Fleet) -> None:
    for exit in ("device", "local", "edge"):
        answers = await fleet.see(name=exit, max_exit=exit)
        assert {(a.exit.value, a.degraded) for row in answers for a in row} == {(exit, False)}


async def test_a_sure_device_settles_the_event_for_all(fleet: Fleet) -> None:
    unsure = fleet.bundle.golden["device_scores"][0]
    p = np.exp(unsure) / np.exp(unsure).sum(axis=-1, keepdims=True)
    eta = -(p * np.log(p)).sum(axis=-1) / np.log(p.shape[-1])
    surest = int(eta.argmin())
    threshold = float(np.sort(eta)[:2].mean())
    fleet.use(thresholds=Thresholds(device=threshold, local=0.0, edge=0.0))
    answers = [given[0] for given in await fleet.see(rows=slice(0, 1))]
    assert {answer.exit for answer in answers} == {Exit.DEVICE}
    assert {answer.label for answer in answers} == {int(unsure[surest].argmax())}
    assert all(answer.devices.tolist() == [n == surest for n in range(6)] for answer in answers)
    assert not any(answer.degraded for answer in answers)
    # The sure ones' scores go up too, after their callers have their answers.
    assert sum(answer.bytes_up for answer in answers) == 6 * 4 * unsure.shape[-1]


async def test_an_event_is_decided_under_the_policy_it_arrived_under(fleet: Fleet) -> None:
    fleet.use(thresholds=Thresholds(local=1.0), version=7)
    inputs = {"view": fleet.view(0, slice(0, 1)), "event": np.array([b"e"], np.object_)}
    first = asyncio.create_task(fleet.infer("device-0", inputs))
    await fleet.switch.reached("edge")
    fleet.use(thresholds=NEVER, version=8)
    given = np.array([b"e"], np.object_)
    others = [fleet.infer(f"device-{n}", {"view": fleet.view(n, slice(0, 1)), "event": given}) for n in range(1, 6)]
    answers = await asyncio.gather(first, *others)
    assert {(row[0].exit, row[0].policy_version) for row in answers} == {(Exit.LOCAL, 7)}


async def test_every_answer_carries_its_request_id_trace_and_timings(fleet: Fleet) -> None:
    body, headers = encode_request({"view": fleet.view(0, slice(0, 1))})
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    async with fleet.client("device-0") as client:
        response = await client.post(
            INFER, content=body, headers={**headers, "x-request-id": "r1", "traceparent": trace}
        )
    assert response.headers["x-request-id"] == "r1"
    timings = response.headers["server-timing"]
    assert all(stage in timings for stage in ("device-device;dur=", "edge-local;dur=", "cloud-cloud;dur="))
    above = fleet.switch.requests[1:]
    assert {request.headers["x-request-id"] for request in above} == {"r1"}
    assert all(request.headers["traceparent"].split("-")[1] == "ab" * 16 for request in above)
    budgets = [int(request.headers["x-ddnn-deadline-ms"]) for request in above]
    assert 2000 > budgets[0] > budgets[1] > 0


async def test_a_row_that_waits_does_not_cost_its_neighbour_a_device(fleet: Fleet) -> None:
    fleet.use(thresholds=NEVER, wait_ms=200, adaptive_wait=False)
    shared, lonely = np.array([b"shared"], np.object_), np.array([b"shared", b"lonely"], np.object_)
    others = [
        asyncio.create_task(fleet.infer(f"device-{n}", {"view": fleet.view(n, slice(0, 1)), "event": shared}))
        for n in range(1, 6)
    ]
    both = await fleet.infer("device-0", {"view": fleet.view(0, slice(0, 2)), "event": lonely})
    answers = [both[0], *(row[0] for row in await asyncio.gather(*others))]
    assert {(answer.exit, int(answer.devices.sum()), answer.degraded) for answer in answers} == {(Exit.CLOUD, 6, False)}
    assert both[1].devices.tolist() == [n == 0 for n in range(6)]


@pytest.mark.parametrize("role", ["local", "section"])
async def test_a_section_that_fails_leaves_no_event_behind(
    fleet: Fleet, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = fleet.switch.apps["edge"].state.service

    def broken(**inputs: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(edge.parts.sections[role], "run", broken)
    for answers in zip(*await fleet.see(), strict=True):
        exit = Exit.DEVICE if role == "local" else Exit.LOCAL
        assert {(answer.exit, answer.degraded_reason) for answer in answers} == {(exit, "error")}
    assert edge.collector.pending == 0


async def test_an_impatient_caller_does_not_hurry_the_others(fleet: Fleet) -> None:
    event = np.array([b"e"], np.object_)
    budgets: list[float] = []

    def ask_cloud(request: httpx.Request) -> httpx.Response:
        budgets.append(float(request.headers["x-ddnn-deadline-ms"]))
        raise httpx.ConnectError("down", request=request)

    fleet.switch.instead["cloud"] = ask_cloud
    posts = [
        fleet.infer(
            f"device-{n}", {"view": fleet.view(n, slice(0, 1)), "event": event}, timeout=5e6 if n == 0 else 20e6
        )
        for n in range(6)
    ]
    await asyncio.gather(*posts)
    assert min(budgets) > 10_000


async def test_an_exit_that_was_asked_for_is_not_degraded_when_there_is_no_tier_above(fleet: Fleet) -> None:
    fleet.switch.apps["device-0"] = create_app(Settings.load(bundle=fleet.bundle.path))
    view = {"view": fleet.view(0, slice(0, 1))}
    (asked,) = await fleet.infer("device-0", view, max_exit="device")
    (wanted,) = await fleet.infer("device-0", view)
    assert (asked.degraded, wanted.degraded_reason) == (False, "no_upstream")


async def test_a_hanging_cloud_does_not_hold_back_later_events(fleet: Fleet) -> None:
    hung, posted = asyncio.Event(), asyncio.Semaphore(0)
    cloud = httpx.ASGITransport(fleet.switch.apps["cloud"])

    class Hanging(httpx.AsyncBaseTransport):
        posts = 0

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            self.posts += 1
            posted.release()
            if self.posts <= 4:
                await hung.wait()
            return await cloud.handle_async_request(request)

    fleet.switch.apps["edge"].state.service.uplink._transport._client._transport = Hanging()
    stuck = []
    async with asyncio.timeout(30):
        for n in range(4):
            stuck.append(asyncio.create_task(fleet.see(rows=slice(0, 1), name=f"stuck{n}")))
            await posted.acquire()
        for answers in await fleet.see(name="later"):
            assert {answer.exit for answer in answers} == {Exit.CLOUD}
    hung.set()
    for given in await asyncio.gather(*stuck):
        assert {row[0].exit for row in given} == {Exit.CLOUD}


async def test_giving_up_answers_what_waits_above_with_what_there_is(fleet: Fleet) -> None:
    hung = asyncio.Event()

    class Hanging(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            reached.set()
            await hung.wait()
            raise httpx.ConnectError("down", request=request)

    reached = asyncio.Event()
    edge = fleet.switch.apps["edge"].state.service
    edge.uplink._transport._client._transport = Hanging()
    waiting = asyncio.create_task(fleet.see())
    async with asyncio.timeout(30):
        await reached.wait()
        assert not edge.idle
        edge.give_up()
        answers = await waiting
    assert {(a.exit, a.degraded_reason) for row in answers for a in row} == {(Exit.EDGE, "draining")}
    assert edge.idle


async def test_a_draining_edge_still_takes_the_features_it_asked_for(fleet: Fleet) -> None:
    edge = fleet.switch.apps["edge"].state.service
    ask = edge.collector.ask

    def ask_and_drain(event: Event, what: str) -> None:
        edge.draining = True
        ask(event, what)

    edge.collector.ask = ask_and_drain
    for answers in await fleet.see():
        assert {answer.exit for answer in answers} == {Exit.CLOUD}
    for answers in await fleet.see(name="new"):
        assert {answer.degraded_reason for answer in answers} == {"refused"}
