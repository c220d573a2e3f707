"""An edge: joins its devices' contributions into events, answers those it is sure of."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import numpy as np

from ddnn.bundle import Bundle
from ddnn.errors import BadInput, Overloaded
from ddnn.service.base import Service
from ddnn.service.case import Case, Terms, no_answer, show_timings
from ddnn.service.collector import Collector, Reply
from ddnn.service.engine import Engine, Step, judge
from ddnn.service.pending import Contribution
from ddnn.service.tensors import TensorSpec
from ddnn.service.way_up import ToCloud
from ddnn.settings import Settings
from ddnn.tier import Exit, Tier
from ddnn.types import Answer, Array
from ddnn.wire import InferRequest, Parameters

__all__ = ["EdgeService"]

_log = logging.getLogger("ddnn")


class EdgeService(Service):
    """Collector → local exit → edge section → cloud."""

    tier = Tier.EDGE

    def __init__(self, bundle: Bundle, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__(bundle, settings, transport)
        topology = bundle.topology
        self._children = topology.edges[settings.index].devices
        self._cut = topology.device_cut
        self._tasks: set[asyncio.Task[None]] = set()
        self.collector = Collector(
            self._children,
            devices=self.devices,
            classes=self.classes,
            event_bytes=len(self._children) * (4 * self.classes + self._cut.bytes),
            policy=lambda: self.policy,
            advance=self._advance,
            settings=settings.collector,
            gathered=self.metrics.gathered,
            settled=lambda answer: self.metrics.answered([answer]),
        )
        self.metrics.queue_depth.set_function(lambda: self.collector.pending)
        steps = [Step(Exit.LOCAL, self.sections["local"], needs="scores")]
        if "section" in self.sections:
            steps.append(Step(Exit.EDGE, self.sections["section"], needs="features", cut=self._cut))
        if self.uplink:
            self.way_up = ToCloud(
                self.uplink,
                self.metrics,
                classes=self.classes,
                devices=self.devices,
                edge=settings.index,
                max_batch=min(512, settings.max_batch),
            )
        self.engine = Engine(steps, above=Exit.CLOUD, way_up=self.way_up, ask=self.collector.ask, observe=self.observe)

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """Scores first, features when asked for; parameter `device` says whose."""
        return [
            TensorSpec("event", "BYTES", (-1,), optional=True),
            TensorSpec("scores", "FP32", (-1, self.classes), optional=True),
            TensorSpec("features", "UINT8", (-1, self._cut.bytes), optional=True),
            TensorSpec("answered", "BOOL", (-1,), optional=True),
        ]

    @property
    def room(self) -> int:
        """As many as its devices may have under way together: a request may wait for one that is still to come."""
        return self.settings.max_in_flight * len(self._children)

    def example(self) -> tuple[dict[str, Array], Parameters]:
        """The first golden event as its first device contributes it, eagerly and alone."""
        golden, device = self.bundle.golden, self.bundle.topology.edges[self.settings.index].devices[0]
        inputs = {"scores": golden["device_scores"][:1, device], "features": golden["device_features"][:1, device]}
        return inputs, {"device": device}

    async def infer(self, request: InferRequest, terms: Terms) -> list[Answer]:
        """Take one device's contributions to B events and tell it, a row each, what became of them."""
        parts = self._contributions(request, terms)
        if not all(self.collector.knows(event) for event, _ in parts):
            self.refuse_when_draining()
        try:
            replies = [self.collector.offer(event, part) for event, part in parts]
        except Overloaded:
            self.metrics.shed.labels("collector").inc()
            raise
        waiting = [reply.future for reply in replies if not reply.future.done()]
        if waiting:
            start = asyncio.get_running_loop().time()
            left = terms.left()
            await asyncio.wait(waiting, timeout=max(0.0, left - min(left / 20, 0.02)))
            terms.timings.append(("collect", asyncio.get_running_loop().time() - start))
        answers = [self._told(reply) for reply in replies]
        for (_, part), reply, answer in zip(parts, replies, answers, strict=True):
            if reply.case and answer.need_features:
                self.collector.delivered(reply.case, part.child)
        show_timings(terms, (reply.case for reply in replies if reply.case))
        return answers

    def _told(self, reply: Reply) -> Answer:
        """The reply; past the deadline, the best there is so far."""
        if reply.future.done():
            return reply.future.result()
        self.metrics.late.labels("answer").inc()
        if reply.case and reply.case.best:
            return replace(reply.case.best, degraded=True, degraded_reason="deadline")
        return self._none("deadline")

    def _none(self, reason: str) -> Answer:
        return no_answer(self.classes, self.devices, self.policy.version, need_features=False, reason=reason)

    def _contributions(self, request: InferRequest, terms: Terms) -> list[tuple[bytes | None, Contribution]]:
        request.refuse_unknown([spec.name for spec in self.inputs])
        device = request.integer("device", 0, self.devices - 1)
        if device is None or device not in self._children:
            mine = ", ".join(map(str, self._children))
            raise BadInput(f"parameter 'device' is {device}; this edge joins the devices {mine}")
        first = "scores" if "scores" in request.inputs else "features"
        rows = self.rows(request, first)
        events = self.events(request, rows)
        if first == "features" and "event" not in request.inputs:
            raise BadInput("input tensor 'event' is missing; expected whose features these are, or 'scores' with them")
        scores = request.take("scores", "FP32", (rows, self.classes)) if first == "scores" else [None] * rows
        features = (
            request.take("features", "UINT8", (rows, self._cut.bytes))
            if "features" in request.inputs or first == "features"
            else [None] * rows
        )
        answered = request.take("answered", "BOOL", (rows,)) if "answered" in request.inputs else [False] * rows
        child = self._children.index(device)
        return [
            (event, Contribution(child, terms, _own(score), _own(feature), bool(sure)))
            for event, score, feature, sure in zip(events, scores, features, answered, strict=True)
        ]

    def _advance(self, cases: list[Case]) -> None:
        """Decide complete events, in a task of their own."""
        task = asyncio.create_task(self._decide(cases))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _decide(self, cases: list[Case]) -> None:
        try:
            await self.engine.advance([case for case in cases if not self._settle_answered(case)])
        except Exception:  # whatever it was, nobody may wait for these events any longer
            _log.exception("%d events could not be decided", len(cases))
            for case in cases:
                if case.best:
                    case.degrade("error")
                else:
                    case.settle(self._none("error"))

    def _settle_answered(self, case: Case) -> bool:
        """A sure child settles the event: the surest one's answer, then the lowest index, is the event's."""
        sure = np.flatnonzero(case.inputs.pop("answered", np.zeros(0, np.bool_)))
        if not len(sure):
            return False
        answers, criterion = judge(Exit.DEVICE, case.inputs["scores"][sure], [case] * len(sure))
        best = min(range(len(sure)), key=lambda n: (criterion[n], n))
        devices = np.arange(self.devices) == self._children[sure[best]]
        case.settle(replace(answers[best], devices=devices))
        return True

    @property
    def idle(self) -> bool:
        """Whether nothing is being worked on: events that wait for features are."""
        return super().idle and not self.collector.pending

    def give_up(self) -> None:
        """Answer every event with what there is."""
        self.collector.give_up()
        super().give_up()

    def status(self) -> dict[str, Any]:
        """The same as any tier's, with the collector."""
        collector = self.collector
        counts = {"pending": collector.pending, "held": collector.held, "alive": collector.waits.alive}
        return {**super().status(), "collector": counts}

    async def close(self) -> None:
        """Decide what is complete, stop every wait, close the uplink."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        self.collector.close()
        await super().close()


def _own(row: Array | None) -> Array | None:
    """A copy: a row that waits must not keep the whole body of its request in memory."""
    return None if row is None else row.copy()
