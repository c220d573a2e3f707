"""A tier that joins what its children send into events: the edge its devices, the cloud its edges."""

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

from ddnn.errors import Overloaded
from ddnn.policy import MOST_VERSIONS
from ddnn.serving.base import Service
from ddnn.serving.case import Case, Contribution, Stage, Terms, show_stages
from ddnn.serving.collector import Collector, Reply
from ddnn.serving.engine import judge_cases
from ddnn.serving.pending import Pending, Place
from ddnn.types import Answer
from ddnn.wire import InferRequest

__all__ = ["JoiningService"]

_log = logging.getLogger("ddnn")


class JoiningService(Service):
    """Collector → engine: a sure child settles an event, else the exits here do, else the tier above."""

    collector: Collector

    @abstractmethod
    def contributions(self, request: InferRequest, terms: Terms) -> list[tuple[bytes | None, Contribution]]:
        """One child's contributions to B events, each with its event's id; raise `BadInput`."""

    def collect(
        self, places: Sequence[Place], *, width: int, devices: Sequence[int], event_bytes: int, patience: int = 1
    ) -> None:
        """Set the collector up; `devices` are those below this tier, the rest is as `Collector` has it."""
        self._children, self._places, self._width = len(places), tuple(places), width
        self._tasks: set[asyncio.Task[None]] = set()
        self.collector = Collector(
            places,
            width=width,
            devices=self.devices,
            classes=self.classes,
            event_bytes=event_bytes,
            policy=lambda: self.policy,
            advance=self._advance,
            settings=self.settings.collector,
            patience=patience,
            gathered=lambda here: self.metrics.gathered(here, devices),
            settled=self.settled,
        )
        self.metrics.queue_depth.set_function(lambda: self.collector.pending)

    async def infer(self, request: InferRequest, terms: Terms) -> list[Answer]:
        """Take one child's contributions to B events and tell it, a row each, what became of them."""
        parts = self.contributions(request, terms)
        if not all(self.collector.knows(event) for event, _ in parts):
            self.refuse_when_draining()
        if all(event is None for event, _ in parts):
            return await self._answer_alone([part for _, part in parts], terms)
        start = perf_counter()
        try:
            replies = [self.collector.offer(event, part) for event, part in parts]
        except Overloaded:
            self.metrics.shed.labels("collector").inc()
            raise
        waiting = [reply.future for reply in replies if not reply.future.done()]
        if waiting:
            left = terms.left()
            try:
                await asyncio.wait(waiting, timeout=max(0.0, left - min(left / 20, 0.02)))
            except asyncio.CancelledError:  # the caller has left
                for (_, part), reply in zip(parts, replies, strict=True):
                    self.collector.forget(reply)
                    if reply.case:
                        self.collector.delivered(reply.case, part.child)  # or nobody goes on before it is
                raise
        answers = [self._told(reply) for reply in replies]
        for (_, part), reply, answer in zip(parts, replies, answers, strict=True):
            if reply.case and answer.need_features:
                self.collector.delivered(reply.case, part.child)
        if cases := [reply.case for reply in replies if reply.case]:
            there = max(case.complete for case in cases)
            collected = (there if there >= start else perf_counter()) - start
            terms.stages.append(Stage("collect", collected, start))
            show_stages(terms, cases, start)
        return answers

    async def _answer_alone(self, parts: Sequence[Contribution], terms: Terms) -> list[Answer]:
        """Answer events that wait for nobody: they need no collector."""
        loop, policy = asyncio.get_running_loop(), self.policy
        nothing = self.no_answer(policy)
        cases = [Case(None, policy, terms, {}, part.devices, nothing, loop.create_future()) for part in parts]
        for case, part in zip(cases, parts, strict=True):
            if len(part.present) == self._width:  # this child alone fills all places
                case.inputs = {**part.inputs, "present": part.present}
            else:
                Pending(case, loop.time()).fill({part.child: part}, self._places, self._width)
        await self._decide(cases)
        answers = [case.outcome.result() for case in cases]
        for case, answer in zip(cases, answers, strict=True):
            self.settled(case, answer)
            if answer.degraded_reason == "deadline":
                self.metrics.late_answer.inc()
        show_stages(terms, cases)
        return answers

    @staticmethod
    def version_below(request: InferRequest) -> int | None:
        """The policy under which the child was sure, if it says so."""
        return request.integer("policy_version", 1, MOST_VERSIONS)

    def _told(self, reply: Reply) -> Answer:
        """The reply; past the deadline, the best there is so far."""
        if reply.case is None or reply.future.done():
            return reply.future.result()
        self.metrics.late_answer.inc()
        return replace(reply.case.best, degraded=True, degraded_reason="deadline")

    def _advance(self, cases: list[Case]) -> None:
        """Decide complete events, in a task of their own."""
        now = perf_counter()
        for case in cases:
            case.complete = now
        task = asyncio.create_task(self._decide(cases))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _decide(self, cases: list[Case]) -> None:
        try:
            answered = [case for case in cases if case.answered]
            for case in answered:
                self._settle(case)
            await self.engine.advance([case for case in cases if not case.answered])
        except Exception:  # whatever it was, nobody may wait for these events any longer
            _log.exception("%d events could not be decided", len(cases))
            for case in cases:
                case.degrade("error")

    def _settle(self, case: Case) -> None:
        """The surest child's answer, then the lowest index's, is the event's; nothing is fused."""
        judged = []
        for part in case.answered:
            if part.answered:
                there = replace(
                    case, devices=part.devices, policy=self.in_force.known(part.policy_version) or case.policy
                )
                (answer,), (criterion,), _ = judge_cases(part.answered, part.inputs["scores"], [there])
                answer = replace(answer, policy_version=part.policy_version or answer.policy_version)
                judged.append((criterion, part.child, answer, part.inputs["scores"][0]))
        _, _, case.best, case.scores = min(judged, key=lambda each: each[:2])
        if self.way_up:
            self.way_up.tell([case])
        case.settle(case.best)

    @property
    def room(self) -> int:
        """As many as its children may have under way together: a request may wait for one that is still to come."""
        return self.settings.max_in_flight * self._children

    @property
    def idle(self) -> bool:
        """Whether nothing is being worked on: events that wait for contributions are."""
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
