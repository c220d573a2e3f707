"""An edge's offload: at once to a cloud that joins edges; to one that does not, events gather while it waits."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ddnn.codec import Codec, joined
from ddnn.serving.event import Event, State
from ddnn.serving.offload import Offload, charge, event_tensor
from ddnn.types import Array, Exit
from ddnn.wire import Parameters

__all__ = ["ToCloud", "ToJoiningCloud"]

_AT_ONCE: Final = 4  #: requests to the cloud under way before events gather
_AT_MOST: Final = 64  #: the same, with those that take too long
_PATIENCE_S: Final = 0.05


class ToCloud(Offload):
    """To a cloud that joins no edges: while requests are in flight, and not overdue, the next events gather."""

    def __init__(
        self,
        *args: Any,
        edge: int,
        devices_below: Sequence[int],
        max_batch: int,
        scores: Codec,
        rows: Sequence[int] = (),
        mixes: bool = False,
        **kwargs: Any,
    ) -> None:
        """`rows`: elements of what each device sent, where these are unequal and go up as they came.

        `mixes`: what the last exit here says goes up too.
        """
        super().__init__(*args, **kwargs)
        self._rows, self._mixes = rows, mixes
        self._edge, self._below, self._max_batch, self._scores = edge, list(devices_below), max_batch, scores
        self._queue: deque[Event] = deque()
        self._in_flight = 0
        self._overdue = 0

    def take(self, events: Sequence[Event]) -> None:
        if events[0].options.audit:
            super().take(events)
        else:
            self._queue.extend(self.welcome(events))
            self._send_queued()

    async def post(self, events: Sequence[Event]) -> None:
        inputs: dict[str, Array] = {name: np.stack([event.inputs[name] for event in events]) for name in self.carries}
        # Whose views these are, where the cloud has asked for them.
        inputs["present"] = np.stack([event.inputs.get("shown", event.inputs["present"]) for event in events])
        if self._mixes:
            inputs["scores"] = np.stack([event.judged[Exit.EDGE] for event in events])
        if self._rows:
            inputs["features"] = joined(inputs["features"], self._rows)
        charge(events, inputs)
        if all(event.id is not None for event in events):
            inputs["event"] = event_tensor(events)
        answers = await self.send(inputs, self._parameters(events), events)
        for event, answer in zip(events, answers, strict=True):
            if event.state is not State.OFFLOADED:
                continue
            if answer.label >= 0:
                event.settle(answer)
            elif answer.degraded_reason == "other_bundle":  # its devices begin it anew, in the one it began in
                event.settle(replace(event.best, label=-1, degraded_reason="other_bundle"))
            else:
                event.degrade(answer.degraded_reason or "bad_answer")

    def _parameters(self, events: Sequence[Event]) -> Parameters:
        parameters: Parameters = {"edge": self._edge}
        return parameters | ({"audit": True} if events[0].options.audit else {})

    def _send_queued(self) -> None:
        while self._queue and self._in_flight - self._overdue < _AT_ONCE and self._in_flight < _AT_MOST:
            batch: list[Event] = []
            while self._queue and len(batch) < self._max_batch:
                batch += self.in_time([self._queue.popleft()])
            if batch:
                self.start(self._fly_batch(batch))
                self._in_flight += 1

    async def _fly_batch(self, events: list[Event]) -> None:
        patience = 2 * (self._uplink.round_trip_ms or 0) / 1000 + _PATIENCE_S
        late = False

        def is_overdue() -> None:
            nonlocal late
            late = True
            self._overdue += 1
            self._send_queued()

        timer = asyncio.get_running_loop().call_later(patience, is_overdue)
        try:
            await self.fly(events)
        finally:
            timer.cancel()
            self._in_flight -= 1
            self._overdue -= late
            self._send_queued()


class ToJoiningCloud(ToCloud):
    """To a cloud that joins several edges: what is held back here is what another edge's event waits for there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.report = self._report

    def take(self, events: Sequence[Event]) -> None:
        for alike in _alike(events):
            Offload.take(self, alike)

    def _report(self, events: Sequence[Event]) -> None:
        """Send what was sure here up, so that the other edges' cloud knows."""
        named = [event for event in events if event.id is not None]
        for alike, version in (found for home in self.by_home(named) for found in _under(home)):
            inputs: dict[str, Array] = {
                "event": event_tensor(alike),
                "scores": self._scores.pack(np.stack([event.judged[event.best.exit] for event in alike])),
                "exit": np.array([event.best.exit.value.encode() for event in alike], np.object_),
                "present": np.stack([event.best.devices[self._below] for event in alike]),
                "answered": np.ones(len(alike), np.bool_),
            }
            charge(alike, inputs)
            parameters = {**self._parameters(alike), "policy_version": version}
            self.in_background(self.send(inputs, parameters, alike))

    def _parameters(self, events: Sequence[Event]) -> Parameters:
        wait_ms = events[0].wait_ms
        return super()._parameters(events) | ({} if wait_ms is None else {"wait_ms": wait_ms})


def _under(events: Sequence[Event]) -> list[tuple[list[Event], int]]:
    """The events that one request can hold and that were answered under one policy, with its version."""
    versions = {event.best.policy_version for event in events}
    same = ((version, [event for event in events if event.best.policy_version == version]) for version in versions)
    return [(alike, version) for version, some in same for alike in _alike(some)]


def _alike(events: Sequence[Event]) -> list[list[Event]]:
    groups: dict[tuple[bool, float | None], list[Event]] = {}
    for event in events:
        groups.setdefault((event.id is None, event.wait_ms), []).append(event)
    return list(groups.values())
