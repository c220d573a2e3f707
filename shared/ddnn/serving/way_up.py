"""How events get to the tier above; a device posts at once, and in stages."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from ddnn.serving.case import Case, reserve
from ddnn.serving.engine import Carried
from ddnn.serving.metrics import Metrics
from ddnn.traffic import payload_of
from ddnn.types import Answer, Array
from ddnn.uplink import NoReply, Uplink
from ddnn.wire import Parameters

__all__ = ["ToEdge", "Up", "charge", "event_tensor"]

_CLOSING_S = 1.0


class Up(ABC):
    """A counted uplink, and background tasks with a bound."""

    def __init__(
        self,
        uplink: Uplink,
        metrics: Metrics,
        *,
        carries: Carried,
        classes: int,
        devices: int,
        background: int = 256,
    ) -> None:
        self.carries = carries
        self._uplink, self._metrics = uplink, metrics
        self._classes, self._devices, self._background = classes, devices, background
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[Case] = set()
        self._gave_up = False

    @abstractmethod
    async def climb(self, cases: Sequence[Case]) -> None:
        """Send events of one request up, and settle each as the reply says."""

    async def offload(self, cases: Sequence[Case]) -> None:
        """Settle the cases, each by its own deadline."""
        climb = self.start(self.climb(cases))
        try:
            await self.wait(cases)
        finally:  # also when the caller leaves: what is unsent stays so
            climb.cancel()

    def in_time(self, cases: Sequence[Case]) -> list[Case]:
        """Those that still want an answer and can have it in time; the others are degraded before they cost bytes."""
        there = []
        for case in cases:
            left = case.left()
            if case.outcome.done():
                continue
            if left > 0 and self._uplink.can_answer(left - reserve(left)):
                there.append(case)
            else:
                self._metrics.late.labels("uplink").inc()
                case.degrade("deadline")
        return there

    async def send(self, inputs: dict[str, Array], parameters: Parameters, cases: Sequence[Case]) -> list[Answer]:
        """One request for `cases`; an answer a row. Raise `NoReply`."""
        left, audit = max(case.left() for case in cases), cases[0].terms.audit
        try:
            budget_ms = (left - reserve(left)) * 1000
            reply = await self._uplink.infer(
                inputs, parameters=parameters, deadline_ms=budget_ms, headers=cases[0].terms.headers
            )
            answers = reply.answers(rows=len(cases), classes=self._classes, devices=self._devices)
        except NoReply as failure:
            if not audit:
                self._metrics.offloads.labels(failure.reason).inc()
                if failure.reason in ("timeout", "deadline"):
                    self._metrics.late.labels("uplink").inc()
            raise
        if audit:
            self._metrics.audits.carried(reply.bytes_sent, reply.bytes_received)
            return answers
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
        try:
            await asyncio.wait([case.outcome for case in cases], timeout=max(0.0, left - reserve(left) / 2))
        finally:
            self._open.difference_update(cases)
        for case in cases:
            case.degrade("deadline")

    def give_up(self) -> None:
        """Answer all that wait for the tier above with what there is, now and from now on: the drain is over."""
        self._gave_up = True
        for case in self._open:
            case.degrade("draining")

    def in_background(self, work: Coroutine[Any, Any, object]) -> bool:
        """Run `work` beside the requests, or drop it, and say so, when too much of it runs already."""
        if len(self._tasks) >= self._background:
            work.close()
            return False
        self.start(self._unheard(work))
        return True

    @staticmethod
    async def _unheard(work: Coroutine[Any, Any, object]) -> None:
        with suppress(NoReply):  # counted; the callers have their answers
            await work

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` until it ends or this tier does."""
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


class ToEdge(Up):
    """A device's way up: scores first, features when asked for; or both at once (eager); or the raw view."""

    def __init__(self, *args: Any, device: int, alone: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._device, self._alone = device, alone

    async def climb(self, cases: Sequence[Case]) -> None:
        """Go through the stages; whoever is not answered then is degraded."""
        eager = cases[0].event is None or cases[0].policy.offload == "eager"
        first = ("view",) if self.carries == "view" else ("scores", "features") if eager else ("scores",)
        reason = "gone"  # asked twice
        try:
            if cases := self.in_time(cases):
                wanted = self.in_time(await self._stage(cases, *first))
                if wanted:
                    await self._stage(wanted, "features")
        except NoReply as failure:
            reason = failure.reason
        for case in cases:
            case.degrade(reason)

    def tell(self, cases: Sequence[Case]) -> None:
        """Send the scores of events this device has answered, so that the others' edge knows."""
        known = [case for case in cases if case.event is not None]
        if known and not self._alone:
            inputs = self._inputs(known, "scores")
            inputs["answered"] = np.ones(len(known), np.bool_)
            charge(known, inputs)
            self.in_background(self._post(known, inputs))

    async def _stage(self, cases: Sequence[Case], *names: str) -> list[Case]:
        """Post one stage; settle the rows that come back as answers, return those whose features are wanted."""
        inputs = self._inputs(cases, *names)
        charge(cases, inputs)
        wanted, audited = [], []
        for case, answer in zip(cases, await self._post(cases, inputs), strict=True):
            if answer.label >= 0:
                case.settle(replace(answer, need_features=False))
                if answer.need_features and case.event is not None and "features" in case.inputs:
                    audited.append(case.audit(case.event))
            elif answer.need_features:
                wanted.append(case)
            else:
                case.degrade(answer.degraded_reason or "gone")
        if audited:
            self.in_background(self._post(audited, self._inputs(audited, "features")))
        return wanted

    async def _post(self, cases: Sequence[Case], inputs: dict[str, Array]) -> list[Answer]:
        terms = cases[0].terms
        parameters: Parameters = {"device": self._device, "max_exit": terms.max_exit.value}
        if terms.threshold is not None:
            parameters["threshold"] = terms.threshold
        if terms.wait_ms is not None:
            parameters["wait_ms"] = terms.wait_ms
        if "answered" in inputs:
            parameters["policy_version"] = cases[0].best.policy_version
        if terms.audit:
            parameters["audit"] = True
        return await self.send(inputs, parameters, cases)

    @staticmethod
    def _inputs(cases: Sequence[Case], *names: str) -> dict[str, Array]:
        inputs = {} if cases[0].event is None else {"event": event_tensor(cases)}
        for name in names:
            inputs[name] = np.stack([case.scores if name == "scores" else case.inputs[name] for case in cases])
        return inputs


def charge(cases: Sequence[Case], inputs: Mapping[str, Array]) -> None:
    """Put on each event's account its row of the tensors that are about to go up."""
    size = payload_of(inputs)
    for case in cases:
        case.bytes_up += size


def event_tensor(cases: Sequence[Case]) -> Array:
    """BYTES [B]: the event ids of cases that all have one."""
    tensor = np.empty(len(cases), np.object_)
    tensor[:] = [case.event for case in cases]
    return tensor
