"""The cloud: the last section, which always answers."""

import asyncio
from collections.abc import Sequence

import httpx
import numpy as np

from ddnn.bundle import Bundle
from ddnn.errors import BadConfig, BadInput
from ddnn.service.base import Service
from ddnn.service.case import Case, Terms, show_timings
from ddnn.service.engine import Engine, Step
from ddnn.service.tensors import TensorSpec
from ddnn.settings import Settings
from ddnn.tier import Exit, Tier
from ddnn.types import Answer, Array, Bools
from ddnn.wire import InferRequest, Parameters

__all__ = ["CloudService"]


class CloudService(Service):
    """Answers the features of one edge."""

    tier = Tier.CLOUD

    def __init__(self, bundle: Bundle, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        topology = bundle.topology
        if len(topology.edges) > 1:
            raise BadConfig(f"the bundle {bundle.manifest.name} has {len(topology.edges)} edges; this cloud joins one")
        self._cut = topology.cloud_cut
        self._children = topology.edges[0].devices
        self._by_device = topology.edge_cut is None
        super().__init__(bundle, settings, transport)
        self.engine = Engine(
            [Step(Exit.CLOUD, self.sections["section"], needs="features", cut=self._cut)], observe=self.observe
        )

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """Packed features, and which devices they came from."""
        fused: tuple[int, ...] = (len(self._children), self._cut.bytes) if self._by_device else (self._cut.bytes,)
        return [
            TensorSpec("features", "UINT8", (-1, *fused)),
            TensorSpec("present", "BOOL", (-1, len(self._children))),
            TensorSpec("event", "BYTES", (-1,), optional=True),
        ]

    def example(self) -> tuple[dict[str, Array], Parameters]:
        """The first golden event's features."""
        golden = self.bundle.golden
        features = golden["device_features"] if self._by_device else golden["edge_features"][:, 0]
        return {"features": features[:1], "present": golden["present"][:1, list(self._children)]}, {}

    async def infer(self, request: InferRequest, terms: Terms) -> list[Answer]:
        """Answer features [B, …] of events in which `present` [B, D_edge] took part."""
        self.refuse_when_draining()
        request.refuse_unknown([spec.name for spec in self.inputs])
        request.integer("edge", 0, len(self.bundle.topology.edges) - 1)
        rows = self.rows(request, "features")
        features, present = self.inputs[:2]
        packed = request.take(features.name, features.datatype, (rows, *features.shape[1:]))
        mask = request.take(present.name, present.datatype, (rows, *present.shape[1:]))
        if not mask.any(axis=1).all():
            row = int(mask.any(axis=1).argmin())
            raise BadInput(f"input tensor 'present' has a row, {row}, in which no device took part")
        events = self.events(request, rows)
        loop = asyncio.get_running_loop()
        cases = [
            Case(event, self.policy, terms, self._inputs(row, here), self._took_part(here), loop.create_future())
            for event, row, here in zip(events, packed, mask, strict=True)
        ]
        await self.engine.advance(cases)
        answers = [case.outcome.result() for case in cases]
        self.metrics.answered(answers)
        show_timings(terms, cases)
        return answers

    def _inputs(self, packed: Array, here: Bools) -> dict[str, Array]:
        if self._by_device:
            return {"features": packed, "present": here}
        return {"features": packed[np.newaxis], "present": np.array([here.any()])}

    def _took_part(self, here: Bools) -> Bools:
        devices = np.zeros(self.devices, np.bool_)
        devices[np.asarray(self._children)[here]] = True
        return devices
