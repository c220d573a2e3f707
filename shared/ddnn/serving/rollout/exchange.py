"""Two bundles in one tier: who answers which events, and how the new one takes the place of the old one."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final
from zlib import crc32

from ddnn.errors import BadInput
from ddnn.serving.faces import Face, Faces
from ddnn.serving.request import RequestOptions
from ddnn.serving.service import Service
from ddnn.types import Answer, Tier
from ddnn.wire import InferRequest

__all__ = ["Pair"]

_STAYS: Final = frozenset({"reporter", "below", "lag", "pressure", "started", "waits", "beside", "follower", "rollout"})
"""Attributes of a service that are the tier's, whatever bundle it serves."""
_TURNS: Final = 2  #: the edge may say that an event began in the other bundle, and then a cloud that joins edges


class Pair:
    """The service of a tier, and beside it one of another bundle.

    Routes, the control room and the log know the tier by its first service: an exchange changes what is in it.
    """

    def __init__(self, service: Service, faces: Faces) -> None:
        self.service, self._faces = service, faces
        self.share: Callable[[], float] = lambda: 0.0  #: of the events, that begin with the other service

    @property
    def other(self) -> Service | None:
        return self.service.beside

    def join(self, other: Service) -> None:
        """Serve another bundle too, for requests that name it, and at a device for a share of the events."""
        self.service.beside, self._faces.other = other, Face(other)
        other.draining, other.pressure = self.service.draining, self.service.pressure
        other.engine.told = self.service.engine.told  # the control room shows the events of both
        self._know_each_other()
        if self.service.tier is Tier.DEVICE:
            self._faces.ask = self._ask

    async def part(self) -> None:
        """Serve the first alone from now on; what the other works on is finished by its callers' deadlines."""
        other, self.service.beside, self._faces.other, self._faces.ask = self.other, None, None, None
        if self.service.collector:
            self.service.collector.began_elsewhere = lambda id: False
        if other:
            await asyncio.sleep(self.service.settings.max_deadline_ms / 1000)  # nothing that it works on lasts longer
            await other.retire()

    async def exchange(self) -> None:
        """Put the other in the first's place, and the first beside it."""
        mine, other = self.service, self.other
        assert other is not None
        if mine.follower:
            await mine.follower.stop()
        own, its = vars(mine), vars(other)
        for name in (own.keys() | its.keys()) - _STAYS:
            own[name], its[name] = its[name], own[name]
        mine.follower = mine.make_follower()
        if mine.follower:
            mine.follower.start()
        for service in (mine, other):
            service.metrics.in_flight.set_function(partial(getattr, service, "in_flight"))
        mine.reporter.listen()
        mine.announce()
        other.announce()
        first, second = self._faces.first, self._faces.other
        assert second is not None
        first.service, second.service = other, mine
        self._faces.first, self._faces.other = second, first
        self._know_each_other()

    def _know_each_other(self) -> None:
        mine, other = self.service.collector, self.other and self.other.collector
        if mine and other:
            mine.began_elsewhere, other.began_elsewhere = other.has, mine.has

    async def _ask(self, request: InferRequest, options: RequestOptions) -> list[Answer]:
        """A device's answer: each event under the bundle that is its turn, or in which the edge says that it began."""
        other, share = self.other, self.share()
        ids = request.inputs.get("event")
        if other is None:
            return await self.service.infer(request, options)
        if ids is None or ids.ndim != 1 or not all(isinstance(id, bytes) for id in ids.tolist()):
            return await self.service.infer(request, options)
        first, second = self.service.bundle.fingerprint, other.bundle.fingerprint
        turns = [second if crc32(id) < share * 2**32 else first for id in ids.tolist()]
        answers = await self._each(turns, request, options)
        for _ in range(_TURNS):
            again = [row for row, answer in enumerate(answers) if answer.degraded_reason == "other_bundle"]
            if not again:
                break
            for row in again:
                turns[row] = first if turns[row] == second else second
            turned = await self._each([turns[row] for row in again], _rows(request, again), options)
            for row, answer in zip(again, turned, strict=True):
                answers[row] = answer
        return answers

    async def _each(self, turns: list[str], request: InferRequest, options: RequestOptions) -> list[Answer]:
        """Each row's answer under the bundle whose turn it is; by name, as they may have been exchanged meanwhile."""
        services = {each.bundle.fingerprint: each for each in (self.service, self.other) if each}
        rows = defaultdict[str, list[int]](list)
        for row, turn in enumerate(turns):
            rows[turn].append(row)
        if len(rows) == 1:
            return await services.get(turns[0], self.service).infer(request, options)
        parts = [services.get(turn, self.service).infer(_rows(request, some), options) for turn, some in rows.items()]
        found: dict[int, Answer] = {}
        for some, answers in zip(rows.values(), await asyncio.gather(*parts), strict=True):
            found.update(zip(some, answers, strict=True))
        return [found[row] for row in range(len(turns))]


def _rows(request: InferRequest, rows: list[int]) -> InferRequest:
    if any(len(tensor) <= max(rows) for tensor in request.inputs.values()):
        raise BadInput("input tensors have unequal numbers of rows; expected one each for every event")
    return replace(request, inputs={name: tensor[rows] for name, tensor in request.inputs.items()})
