"""How events get to the tier above: what is the same for a device and an edge."""

import asyncio
import hmac
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import numpy as np

from ddnn.codec import payload_of
from ddnn.serving.budget import Escalation, cloud_seconds
from ddnn.serving.event import Event, Flight, State
from ddnn.serving.metrics import Metrics
from ddnn.serving.pressure import chosen
from ddnn.serving.request import RequestOptions, reserve
from ddnn.types import Answer, Array
from ddnn.uplink import NoReply, Uplink
from ddnn.wire import Parameters

__all__ = ["Offload", "charge", "event_tensor"]

_log = logging.getLogger("ddnn")
_CLOSING_S = 1.0
_UNSENT = frozenset({"circuit_open", "unreachable", "deadline"})


class Offload(ABC):
    """A counted uplink, and background tasks with a bound."""

    report: Callable[[Sequence[Event]], None] | None = None
    # Lets the tier above know, in the background, of events that are answered here; None = it has no need to.

    def __init__(
        self,
        uplink: Uplink,
        metrics: Metrics,
        *,
        carries: tuple[str, ...],
        background: int,
        budget: Escalation | None = None,
    ) -> None:
        """At most `background` reports are under way at once; events go up within a `budget`."""
        self.carries, self.budget = carries, budget
        self._uplink, self._metrics = uplink, metrics
        self.pressed: Callable[[], float] = lambda: (
            0.0
        )  #: share of the events that the tier above would rather not have
        self._background = background
        self._tasks: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def post(self, events: Sequence[Event]) -> None:
        """Send events up in one request, and settle each as the reply says; raise `NoReply`."""

    def take(self, events: Sequence[Event]) -> None:
        """Send events that came together up at once; the request ends with the last of them."""
        for together in self.by_home(self.in_time(self.welcome(events))):
            flight = Flight(len(together))
            for event in together:
                event.flight = flight
            flight.task = self.start(self.fly(together))

    def by_home(self, events: Sequence[Event]) -> list[list[Event]]:
        """The events that one request can hold, where the tier above has several addresses."""
        groups: dict[tuple[str, ...], list[Event]] = {}
        for event in events:
            groups.setdefault(self._uplink.home(event.id), []).append(event)
        return list(groups.values())

    async def fly(self, events: Sequence[Event]) -> None:
        """Post events; whatever is not answered then is degraded."""
        reason = "error"
        try:
            await self.post(events)
            reason = "gone"  # asked twice
        except NoReply as failure:
            reason = failure.reason
            if self.budget and reason in _UNSENT:
                self.budget.give_back(events)
        except Exception:
            _log.exception("%d events could not be sent up", len(events))
        for event in events:
            if event.state is State.OFFLOADED:
                event.degrade(reason)

    def welcome(self, events: Sequence[Event]) -> Sequence[Event]:
        """Those that the tier above still takes, pressed as it may be; the others are answered here, before they cost.

        Audits wait for better times.
        """
        share = self.pressed()
        if not share:
            return events
        let_in = []
        for event in events:
            if event.options.audit or chosen(event.id or uuid4().bytes, share):
                event.degrade("pressed")
            else:
                let_in.append(event)
        return let_in

    def in_time(self, events: Sequence[Event]) -> list[Event]:
        """Those that still want an answer, in time and within the budget; the others are degraded before they cost."""
        in_time, now = [], asyncio.get_running_loop().time()
        for event in events:
            left = event.deadline - now
            if event.state is not State.OFFLOADED:
                continue
            if left > 0 and self._uplink.can_answer(left - reserve(left), event.id):
                in_time.append(event)
            else:
                self._metrics.late.labels("uplink").inc()
                event.degrade("deadline")
        return self.budget.admitted(in_time) if self.budget else in_time

    async def send(
        self,
        inputs: dict[str, Array],
        parameters: Parameters,
        events: Sequence[Event],
        options: RequestOptions | None = None,
    ) -> list[Answer]:
        """One request, a row an event, with `options` of its own or the first event's; raise `NoReply`."""
        deadline = options.deadline if options else max(event.deadline for event in events)
        options, left = options or events[0].options, deadline - asyncio.get_running_loop().time()
        try:
            budget_ms = (left - reserve(left)) * 1000
            reply = await self._uplink.infer(
                inputs, parameters=parameters, deadline_ms=budget_ms, headers=options.headers(), key=events[0].id
            )
        except NoReply as failure:
            if not failure.sent:
                charge(events, inputs, back=True)
            if not options.audit:
                self._metrics.offloads.labels(failure.reason).inc()
                if failure.reason in ("timeout", "deadline"):
                    self._metrics.late.labels("uplink").inc()
            raise
        if options.audit:
            self._metrics.audit_bytes.labels("up").inc(reply.bytes_sent)
            self._metrics.audit_bytes.labels("down").inc(reply.bytes_received)
            return reply.answers
        self._metrics.offloaded(reply.bytes_sent, reply.bytes_received, reply.seconds)
        above = reply.headers.get("server-timing")
        if self.budget:
            worked = cloud_seconds(above)
            self.budget.spent(events, reply.bytes_sent, reply.seconds if worked is None else worked)
        if above:
            for event in events:
                event.upper_timings.append(above)
        return reply.answers

    def in_background(self, work: Coroutine[Any, Any, object]) -> None:
        """Run `work` beside the requests, or drop it when too much runs already."""
        if len(self._tasks) < self._background:
            self.start(self._unheard(work))
        else:
            work.close()

    @staticmethod
    async def _unheard(work: Coroutine[Any, Any, object]) -> None:
        with suppress(NoReply):  # counted; the callers have their answers
            await work

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
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


def charge(events: Sequence[Event], inputs: Mapping[str, Array], *, back: bool = False) -> None:
    """Put on each event's account its row of the tensors that are about to go up; `back`: none of them did."""
    size = payload_of(inputs)
    files = any(tensor.dtype == np.object_ for name, tensor in inputs.items() if name != "event")
    for row, event in enumerate(events):
        sent = payload_of(inputs, row) if files else size
        event.bytes_up += -min(sent, event.bytes_up) if back else sent


def event_tensor(events: Sequence[Event], key: bytes = b"") -> Array:
    """BYTES [B]: the ids of events that all have one; with a `key`, HMAC-SHA-256 of each under it, in hexadecimal."""
    tensor = np.empty(len(events), np.object_)
    ids = [event.id or b"" for event in events]
    tensor[:] = [hmac.digest(key, id, "sha256").hex().encode() for id in ids] if key else ids
    return tensor
