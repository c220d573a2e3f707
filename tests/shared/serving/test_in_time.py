"""Nothing goes up that cannot come back in time, or that nobody waits for any more."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.types import Message

from ddnn.serving.batching import Outputs, SectionQueue
from ddnn.serving.event import Event
from ddnn.serving.http import caller_left
from ddnn.types import Exit
from ddnn.uplink.transport import OverHttpx
from ddnn.wire import encode_request
from ddnn_lab.in_process import INFER, Fleet
from event_bench import make_event


def slow(fleet: Fleet, host: str, seconds: float) -> Any:
    """Let the uplink of `host` know that replies take so long; the next try against the odds is half a second away."""
    uplink = fleet.switch.apps[host].state.service.uplink
    (target,) = uplink._targets
    for _ in range(32):
        target.trips.add(seconds)
    assert uplink.can_answer(0.0)
    return uplink


def asked(fleet: Fleet, host: str) -> int:
    return sum(request.url.host == host for request in fleet.switch.requests)


@pytest.mark.parametrize(("host", "above", "exit"), [("edge", "cloud", Exit.EDGE), ("device-0", "edge", Exit.DEVICE)])
async def test_what_cannot_come_back_in_time_is_answered_at_once(
    fleet: Fleet, host: str, above: str, exit: Exit
) -> None:
    slow(fleet, host, 3600.0)
    (answers,) = await fleet.see(devices=[0], rows=slice(0, 1), wait_ms=0)
    assert [(row.exit, row.degraded_reason) for row in answers] == [(exit, "deadline")]
    assert asked(fleet, above) == 0
    late = fleet.switch.apps[host].state.service.metrics.registry.get_sample_value(
        "ddnn_deadline_exceeded_total", {"where": "uplink"}
    )
    assert late == 1


async def test_what_can_come_back_goes_up(fleet: Fleet) -> None:
    slow(fleet, "edge", 1.0)
    (answers,) = await fleet.see(devices=[0], rows=slice(0, 1), wait_ms=0)
    assert [(row.exit, row.degraded) for row in answers] == [(Exit.CLOUD, False)]


async def test_features_are_not_sent_for_a_caller_who_has_left(fleet: Fleet) -> None:
    asked, more = asyncio.Event(), asyncio.Event()
    edge = httpx.ASGITransport(fleet.switch.apps["edge"])
    posts = 0

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal posts
            posts += 1
            asked.set()
            await more.wait()
            return await edge.handle_async_request(request)

    app = fleet.switch.apps["device-0"]
    app.state.service.uplink._transport = OverHttpx(Slow())
    body, headers = encode_request(
        {"view": fleet.view(0, slice(0, 1)), "event": np.array([b"e"], np.object_)}, parameters={"wait_ms": 0}
    )
    coming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not coming:
            await asyncio.Event().wait()
        return coming.pop()

    async def send(message: Message) -> None:
        raise AssertionError(f"{message} was sent to nobody")

    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": INFER,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "state": {},
    }
    serving = asyncio.create_task(app(scope, receive, send))
    await asked.wait()
    caller_left(scope["state"])
    await serving
    more.set()
    service = app.state.service
    assert (posts, service.in_flight) == (1, 0)
    assert service.metrics.registry.get_sample_value("ddnn_requests_total", {"code": "499"}) == 1


async def test_a_slow_section_does_not_run_what_would_come_out_too_late_but_tries_the_last() -> None:
    runs: list[int] = []

    def run(events: Sequence[Event]) -> Outputs:
        runs.append(len(events))
        return {}

    def decide(events: Sequence[Event], outputs: Outputs, seconds: float) -> None:
        for event in events:
            event.settle(replace(event.best, label=1))

    queue = SectionQueue(run, decide)
    queue.slow, queue._usual_s = True, 60.0
    events = [make_event(30), make_event(600), make_event(30)]
    replies = [event.replies[0][0] for event in events]
    for event in events:
        queue.put([event])
    hurried, patient, last = [(await reply.wait())[0] for reply in replies]
    queue.close()
    assert runs == [2]
    assert (hurried.degraded_reason, patient.label, last.label) == ("deadline", 1, 1)
