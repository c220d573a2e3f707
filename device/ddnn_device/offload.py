"""A device's offload: scores first, features when the edge asks for them; or both at once (eager); or the raw view."""

import asyncio
from asyncio import gather
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from ddnn.serving.event import Event, State
from ddnn.serving.offload import Offload, charge, event_tensor
from ddnn.serving.request import RequestOptions
from ddnn.types import Answer, Array
from ddnn.wire import Parameters
from ddnn_device.views import Views

__all__ = ["ToEdge"]


class ToEdge(Offload):
    """Posts at once, the events of a request together: holding one back would hold back its siblings at the edge."""

    def __init__(
        self,
        *args: Any,
        first: tuple[str, ...],
        later: tuple[str, ...],
        pack: Mapping[Any, Callable[[Array], Array]],
        device: int,
        alone: bool,
        views: Views | None = None,
        event_key: bytes = b"",
        **kwargs: Any,
    ) -> None:
        """`first` goes up of every event, `later` when asked for, level by level, as `pack` makes them.

        `alone`: no other device; `views` keeps those that may be asked for.

        With an `event_key` ids go up as an HMAC under it.
        """
        # Scores are an event's own, what else goes up is among its inputs.
        carries = tuple(name for name in (*first, *later) if name != "scores")
        super().__init__(*args, carries=carries, **kwargs)
        self._first, self._later, self._pack, self._device = first, later, pack, device
        self._event_key, self._views = event_key, views
        self.report = None if alone else self._report

    async def post(self, events: Sequence[Event]) -> None:
        with self._views.kept(events) if self._views else nullcontext():
            await self._level_by_level(events)

    async def _level_by_level(self, events: Sequence[Event]) -> None:
        """Send what goes up first, then a level more of those events that are asked for one."""
        own = events[0].id is None  # which the edge does not hold: with the next level comes all before it
        eager, kept = own or events[0].rule.policy.offload == "eager", ["view"] if self._views else []
        now = [name for name in self._later if eager and name not in kept]
        asked = self.in_time(await self._stage(events, *self._first, *now))
        for level in self._later[len(now) :]:
            if not asked:
                return
            gone = [event for event in asked if level not in event.inputs]
            have = [event for event in asked if level in event.inputs]
            names = (*self._first, *self._later) if own else (level,)
            posts = [self._posted(have, *names)] if have else []
            if own:
                for event in gone:
                    event.degrade("no_views")
            elif gone:
                posts.append(self._posted(gone, "waits"))
            answers = [answer for some in await gather(*posts) for answer in some]
            asked = self.in_time(await self._heard([*have, *gone][: len(answers)], answers))

    def _report(self, events: Sequence[Event]) -> None:
        """Send the scores of events this device has answered, so that the others' edge knows."""
        for known in self.by_home([event for event in events if event.id is not None]):
            inputs = self._inputs(known, *self._first)
            inputs["answered"] = np.ones(len(known), np.bool_)
            charge(known, inputs)
            self.in_background(self._send(known, inputs, known[0].options))

    async def _stage(self, events: Sequence[Event], *names: str) -> list[Event]:
        """Post one stage; settle the rows that come back as answers, return those whose features are wanted."""
        return await self._heard(events, await self._posted(events, *names))

    async def _posted(self, events: Sequence[Event], *names: str) -> list[Answer]:
        inputs = await self._packed(events, *names)
        charge(events, inputs)
        return await self._send(events, inputs, events[0].options)

    async def _heard(self, events: Sequence[Event], answers: Sequence[Answer]) -> list[Event]:
        """In the task of the flight, which ends with its last event."""
        asked, audited = [], []
        for event, answer in zip(events, answers, strict=True):
            whole = all(name in event.inputs for name in self._later)
            if answer.label >= 0 and answer.need_features and event.id is not None and whole:
                audited.append(event)
            if event.state is not State.OFFLOADED:
                continue
            if answer.label >= 0:
                event.settle(replace(answer, need_features=False))
            elif answer.need_features:
                asked.append(event)
            elif answer.degraded_reason == "not_asked":  # it has only to wait
                event.inputs.pop("view", None)
                asked.append(event)
            else:
                event.degrade(answer.degraded_reason or "gone")
        if audited:
            options = audited[0].options.of_audit()
            self.in_background(self._send(audited, await self._packed(audited, *self._later), options))
        return asked

    async def _packed(self, events: Sequence[Event], *names: str) -> dict[str, Array]:
        """The same as `_inputs`, off the event loop where views become files."""
        if "view" in names and self._views:
            return await asyncio.to_thread(self._inputs, events, *names)
        return self._inputs(events, *names)

    async def _send(self, events: Sequence[Event], inputs: dict[str, Array], options: RequestOptions) -> list[Answer]:
        parameters: Parameters = {"device": self._device, "max_exit": options.max_exit.value}
        if options.threshold is not None:
            parameters["threshold"] = options.threshold
        if options.wait_ms is not None:
            parameters["wait_ms"] = options.wait_ms
        if "answered" in inputs:
            parameters["policy_version"] = events[0].best.policy_version
        if options.audit:
            parameters["audit"] = True
        return await self.send(inputs, parameters, events, options if options.audit else None)

    def _inputs(self, events: Sequence[Event], *names: str) -> dict[str, Array]:
        inputs = {} if events[0].id is None else {"event": event_tensor(events, self._event_key)}
        for name in names:
            if name == "waits":
                inputs[name] = np.ones(len(events), np.bool_)
                continue
            rows = [event.judged[event.best.exit] if name == "scores" else event.inputs[name] for event in events]
            inputs[name] = self._pack[name](np.stack(rows)) if name in self._pack else np.stack(rows)
        return inputs
