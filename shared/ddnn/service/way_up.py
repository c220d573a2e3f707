"""How unsure events get to the tier above: a device posts at once and in stages, an edge gathers while it waits."""

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ddnn.service.case import Case, reserve
from ddnn.service.metrics import Metrics
from ddnn.types import Answer, Array
from ddnn.uplink import NoReply, Uplink
from ddnn.wire import Parameters

__all__ = ["ToCloud", "ToEdge", "charge", "event_tensor"]

_AT_ONCE = 4
"""Requests to the cloud under way before events gather."""
_AT_MOST = 64
"""The same, with those that take too long."""
_PATIENCE_S = 0.05
_CLOSING_S = 1.0


class _Up:
    """A counted uplink, and background tasks with a bound."""

    def __init__(self, uplink: Uplink, metrics: Metrics, *, classes: int, devices: int, background: int = 256) -> None:
        self._uplink, self._metrics = uplink, metrics
        self._classes, self._devices, self._background = classes, devices, background
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[Case] = set()
        self._gave_up = False

    async def send(self, inputs: dict[str, Array], parameters: Parameters, cases: Sequence[Case]) -> list[Answer]:
        """One request for `cases`; an answer a row. Raise `NoReply`."""
        left = max(case.left() for case in cases)
        try:
            budget_ms = (left - reserve(left)) * 1000
            reply = await self._uplink.infer(
                inputs, parameters=parameters, deadline_ms=budget_ms, headers=cases[0].terms.headers
            )
            answers = reply.answers(rows=len(cases), classes=self._classes, devices=self._devices)
        except NoReply as failure:
            self._metrics.offloads.labels(failure.reason).inc()
            if failure.reason in ("timeout", "deadline"):
                self._metrics.late.labels("uplink").inc()
            raise
        self._metrics.offloads.labels("ok").inc()
        self._metrics.uplink_bytes.labels("up").inc(reply.bytes_sent)
        self._metrics.uplink_bytes.labels("down").inc(reply.bytes_received)
        self._metrics.uplink_seconds.observe(reply.seconds)
        if above := reply.headers.get("server-timing"):
            for case in cases:
                case.upper_timings.append(above)
        return answers

    async def wait(self, cases: Sequence[Case]) -> None:
        """Until all are settled; past the deadline, or once this tier gives up, they are degraded."""
        self._open.update(cases)
        if self._gave_up:
            self.give_up()
        left = max(case.left() for case in cases)
        await asyncio.wait([case.outcome for case in cases], timeout=max(0.0, left - reserve(left) / 2))
        self._open.difference_update(cases)
        for case in cases:
            case.degrade("deadline")

    def give_up(self) -> None:
        """Answer all that wait for the tier above with what there is, now and from now on: the drain is over."""
        self._gave_up = True
        for case in self._open:
            case.degrade("draining")

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the requests, or drop it when too much of it runs already."""
        if len(self._tasks) >= self._background:
            work.close()
            return
        self._start(work)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Give what runs in the background a moment to end, then stop it."""
        if self._tasks:
            _, running = await asyncio.wait(self._tasks, timeout=_CLOSING_S)
            for task in running:
                task.cancel()


class ToEdge(_Up):
    """A device's way up: scores first, features when asked for; or both at once (eager)."""

    def __init__(self, *args: Any, device: int, alone: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._device, self._alone = device, alone

    async def offload(self, cases: Sequence[Case]) -> None:
        """Settle the cases of one request."""
        climb = self._start(self._climb(cases))
        await self.wait(cases)
        climb.cancel()

    async def _climb(self, cases: Sequence[Case]) -> None:
        eager = cases[0].event is None or cases[0].policy.offload == "eager"
        reason = "gone"  # asked twice
        try:
            wanted = await self._stage(cases, scores=True, features=eager)
            if wanted:
                await self._stage(wanted, scores=False, features=True)
        except NoReply as failure:
            reason = failure.reason
        for case in cases:
            case.degrade(reason)

    def tell(self, cases: Sequence[Case]) -> None:
        """Send the scores of events this device has answered, so that the others' edge knows."""
        known = [case for case in cases if case.event is not None]
        if known and not self._alone:
            inputs = self._inputs(known, scores=True, features=False)
            inputs["answered"] = np.ones(len(known), np.bool_)
            charge(known, inputs)
            self.in_background(self._tell(known, inputs))

    async def _tell(self, cases: Sequence[Case], inputs: dict[str, Array]) -> None:
        with suppress(NoReply):  # counted; the caller has its answer
            await self._post(cases, inputs)

    async def _post(self, cases: Sequence[Case], inputs: dict[str, Array]) -> list[Answer]:
        terms = cases[0].terms
        parameters: Parameters = {"device": self._device, "max_exit": terms.max_exit.value}
        if terms.threshold is not None:
            parameters["threshold"] = terms.threshold
        if terms.wait_ms is not None:
            parameters["wait_ms"] = terms.wait_ms
        return await self.send(inputs, parameters, cases)

    @staticmethod
    def _inputs(cases: Sequence[Case], *, scores: bool, features: bool) -> dict[str, Array]:
        inputs: dict[str, Array] = {}
        if cases[0].event is not None:
            inputs["event"] = event_tensor(cases)
        if scores:
            inputs["scores"] = np.stack([case.inputs["scores"] for case in cases])
        if features:
            inputs["features"] = np.stack([case.inputs["features"] for case in cases])
        return inputs

    async def _stage(self, cases: Sequence[Case], *, scores: bool, features: bool) -> list[Case]:
        """Post one stage; settle the rows that come back as answers, return those whose features are wanted."""
        inputs = self._inputs(cases, scores=scores, features=features)
        charge(cases, inputs)
        wanted = []
        for case, answer in zip(cases, await self._post(cases, inputs), strict=True):
            if answer.label >= 0:
                case.settle(answer)
            elif answer.need_features:
                wanted.append(case)
            else:
                case.degrade(answer.degraded_reason or "gone")
        return wanted


class ToCloud(_Up):
    """An edge's way up: while requests are in flight the next events gather and go up together.

    A request that takes much longer than they usually do no longer holds the others back.
    """

    def __init__(self, *args: Any, edge: int, max_batch: int = 512, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._edge, self._max_batch = edge, max_batch
        self._queue: deque[Case] = deque()
        self._in_flight = 0
        self._overdue = 0

    async def offload(self, cases: Sequence[Case]) -> None:
        """Queue the cases and wait until all are settled; each falls back by its own deadline."""
        self._queue.extend(cases)
        self._send_queued()
        await self.wait(cases)

    def tell(self, cases: Sequence[Case]) -> None:
        """Nobody above joins one edge's events."""

    def _send_queued(self) -> None:
        while self._queue and self._in_flight - self._overdue < _AT_ONCE and self._in_flight < _AT_MOST:
            batch: list[Case] = []
            while self._queue and len(batch) < self._max_batch:
                case = self._queue.popleft()
                if case.left() > 0 and not case.outcome.done():
                    batch.append(case)
                else:
                    case.degrade("deadline")
            if batch:
                self._start(self._post_batch(batch))
                self._in_flight += 1

    async def _post_batch(self, cases: list[Case]) -> None:
        patience = 2 * (self._uplink.round_trip_ms or 0) / 1000 + _PATIENCE_S
        late = False

        def is_overdue() -> None:
            nonlocal late
            late = True
            self._overdue += 1
            self._send_queued()

        timer = asyncio.get_running_loop().call_later(patience, is_overdue)
        try:
            await self._climb(cases)
        finally:
            timer.cancel()
            self._in_flight -= 1
            self._overdue -= late
            for case in cases:
                case.degrade("error")
            self._send_queued()

    async def _climb(self, cases: list[Case]) -> None:
        inputs = {
            "features": np.stack([case.inputs["features"] for case in cases]),
            "present": np.stack([case.inputs["present"] for case in cases]),
        }
        charge(cases, inputs)
        if all(case.event is not None for case in cases):
            inputs["event"] = event_tensor(cases)
        try:
            for case, answer in zip(cases, await self.send(inputs, {"edge": self._edge}, cases), strict=True):
                if answer.label >= 0:
                    case.settle(answer)
                else:
                    case.degrade("bad_answer")
        except NoReply as failure:
            for case in cases:
                case.degrade(failure.reason)


def charge(cases: Sequence[Case], inputs: Mapping[str, Array]) -> None:
    """Put on each event's account its row of the tensors that are about to go up."""
    size = sum(inputs[name][0].nbytes for name in ("scores", "features", "present") if name in inputs)
    for case in cases:
        case.bytes_up += size


def event_tensor(cases: Sequence[Case]) -> Array:
    """BYTES [B]: the event ids of cases that all have one."""
    tensor = np.empty(len(cases), np.object_)
    tensor[:] = [case.event for case in cases]
    return tensor
