"""An edge's way up: at once to a cloud that joins edges; to one that does not, events gather while it waits."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ddnn.serving.case import Case
from ddnn.serving.way_up import Up, charge, event_tensor
from ddnn.types import Array
from ddnn.uplink import NoReply
from ddnn.wire import Parameters

__all__ = ["ToCloud", "ToJoiningCloud"]

_AT_ONCE: Final = 4
"""Requests to the cloud under way before events gather."""
_AT_MOST: Final = 64
"""The same, with those that take too long."""
_PATIENCE_S: Final = 0.05


class ToCloud(Up):
    """To a cloud that joins nobody: while requests are in flight the next events gather and go up together.

    A request that takes much longer than they usually do no longer holds the others back.
    """

    def __init__(self, *args: Any, edge: int, devices_below: Sequence[int], max_batch: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._edge, self._below, self._max_batch = edge, list(devices_below), max_batch
        self._queue: deque[Case] = deque()
        self._in_flight = 0
        self._overdue = 0

    async def offload(self, cases: Sequence[Case]) -> None:
        """Queue the cases and wait until all are settled; each falls back by its own deadline.

        Audits go up by themselves: nothing waits behind them, and the cloud knows them for what they are.
        """
        if cases[0].terms.audit:
            await super().offload(cases)
        else:
            self._queue.extend(case for case in cases if case.left() > 0)
            self._send_queued()
            await self.wait(cases)

    def tell(self, cases: Sequence[Case]) -> None:
        """Nobody above joins one edge's events."""

    async def climb(self, cases: Sequence[Case]) -> None:
        """One request."""
        names = (self.carries, "present")
        inputs: dict[str, Array] = {name: np.stack([case.inputs[name] for case in cases]) for name in names}
        charge(cases, inputs)
        if all(case.event is not None for case in cases):
            inputs["event"] = event_tensor(cases)
        try:
            for case, answer in zip(cases, await self.send(inputs, self._parameters(cases), cases), strict=True):
                if answer.label >= 0:
                    case.settle(answer)
                else:
                    case.degrade(answer.degraded_reason or "bad_answer")
        except NoReply as failure:
            for case in cases:
                case.degrade(failure.reason)

    def _parameters(self, cases: Sequence[Case]) -> Parameters:
        parameters: Parameters = {"edge": self._edge}
        return parameters | ({"audit": True} if cases[0].terms.audit else {})

    def _send_queued(self) -> None:
        while self._queue and self._in_flight - self._overdue < _AT_ONCE and self._in_flight < _AT_MOST:
            batch: list[Case] = []
            while self._queue and len(batch) < self._max_batch:
                batch += self.in_time([self._queue.popleft()])
            if batch:
                self.start(self._post_batch(batch))
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
            await self.climb(cases)
        finally:
            timer.cancel()
            self._in_flight -= 1
            self._overdue -= late
            for case in cases:
                case.degrade("error")
            self._send_queued()


class ToJoiningCloud(ToCloud):
    """To a cloud that joins several edges: what is held back here is what another edge's event waits for there."""

    async def offload(self, cases: Sequence[Case]) -> None:
        """Post at once, and wait until all are settled; each falls back by its own deadline."""
        climbs = [self.start(self.climb(alike)) for alike in _alike(self.in_time(cases))]
        try:
            await self.wait(cases)
        finally:
            for climb in climbs:
                climb.cancel()

    def tell(self, cases: Sequence[Case]) -> None:
        """Send what was sure here up, so that the other edges' cloud knows."""
        named = [case for case in cases if case.event is not None]
        for alike, version in _under(named):
            inputs: dict[str, Array] = {
                "event": event_tensor(alike),
                "scores": np.stack([case.scores for case in alike]),
                "exit": np.array([case.best.exit.value.encode() for case in alike], np.object_),
                "present": np.stack([case.best.devices[self._below] for case in alike]),
                "answered": np.ones(len(alike), np.bool_),
            }
            charge(alike, inputs)
            parameters = {**self._parameters(alike), "policy_version": version}
            self.in_background(self.send(inputs, parameters, alike))

    def _parameters(self, cases: Sequence[Case]) -> Parameters:
        wait_ms = cases[0].terms.wait_ms
        return super()._parameters(cases) | ({} if wait_ms is None else {"wait_ms": wait_ms})


def _under(cases: Sequence[Case]) -> list[tuple[list[Case], int]]:
    """The cases that one request can hold and that were answered under one policy, with its version."""
    versions = {case.best.policy_version for case in cases}
    same = ((version, [case for case in cases if case.best.policy_version == version]) for version in versions)
    return [(alike, version) for version, some in same for alike in _alike(some)]


def _alike(cases: Sequence[Case]) -> list[list[Case]]:
    """The cases that one request can hold: with ids or without, and under one wait."""
    groups: dict[tuple[bool, float | None], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.event is None, case.terms.wait_ms), []).append(case)
    return list(groups.values())
