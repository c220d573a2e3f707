"""An edge: joins its devices' contributions into events, answers those it is sure of."""

from collections.abc import Sequence
from functools import cached_property

import httpx
import numpy as np

from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.serving.case import Contribution, Terms
from ddnn.serving.engine import Step
from ddnn.serving.joining import JoiningService
from ddnn.serving.ledger import Ledger
from ddnn.serving.tensors import TensorSpec
from ddnn.serving.to_cloud import ToCloud, ToJoiningCloud
from ddnn.settings import Settings
from ddnn.types import Answer, Array, Exit, Tier
from ddnn.wire import InferRequest, Parameters

__all__ = ["EdgeService"]


class EdgeService(JoiningService):
    """Collector → local exit → edge section → cloud; without sections, collector → cloud."""

    tier = Tier.EDGE

    def __init__(self, bundle: Bundle, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__(bundle, settings, transport)
        topology, count = bundle.topology, len(self._mine)
        self._present = np.ones(1, np.bool_)
        self._alone = np.eye(self.devices, dtype=np.bool_)
        cut, view = topology.device_cut, topology.devices[self._mine[0]].view
        self.collect(
            [slice(place, place + 1) for place in range(count)],
            width=count,
            devices=self._mine,
            event_bytes=count * (4 * self.classes + cut.bytes if cut else view.bytes),
        )
        steps = []
        if "local" in self.sections:
            steps.append(Step(Exit.LOCAL, self.sections["local"], needs="scores"))
        if "section" in self.sections:
            steps.append(Step(Exit.EDGE, self.sections["section"], needs="features", cut=cut))
        if self.uplink:
            way_up = ToJoiningCloud if len(topology.edges) > 1 else ToCloud
            self.way_up = way_up(
                self.uplink,
                self.metrics,
                carries="view" if topology.raw else "features",
                classes=self.classes,
                devices=self.devices,
                background=settings.max_background,
                edge=settings.index,
                devices_below=self._mine,
                max_batch=min(512, settings.max_batch),
            )
        if steps:
            self.ledger = Ledger(settings.ledger_events, devices=count, classes=self.classes)
        self.audits = self.make_audits()
        self.engine = self.make_engine(steps, above=Exit.CLOUD, ask=self.collector.ask)

    async def infer(self, request: InferRequest, terms: Terms) -> list[Answer]:
        """Take contributions, and features that audits have asked for, which are only acknowledged."""
        if not terms.audit or "features" not in request.inputs or "scores" in request.inputs:
            return await super().infer(request, terms)
        parts = self.contributions(request, terms)
        if audits := self.audits:
            for event, part in parts:
                audits.take(event, part.child, part.inputs["features"][0])
        return [self.no_answer(self.policy)] * len(parts)

    @cached_property
    def _mine(self) -> tuple[int, ...]:
        return self.bundle.topology.edges[self.settings.index].devices

    @cached_property
    def _payload(self) -> list[TensorSpec]:
        """What a device sends of an event, in one message or two."""
        topology = self.bundle.topology
        if topology.device_cut is None:
            view = topology.devices[self._mine[0]].view
            return [TensorSpec("view", view.dtype, (-1, *view.shape))]
        return [
            TensorSpec("scores", "FP32", (-1, self.classes), optional=True),
            TensorSpec("features", "UINT8", (-1, topology.device_cut.bytes), optional=True),
        ]

    @cached_property
    def inputs(self) -> Sequence[TensorSpec]:
        """Scores first, features when asked for, or the raw view; parameter `device` says whose."""
        event = TensorSpec("event", "BYTES", (-1,), optional=True)
        answered = [] if self.bundle.topology.raw else [TensorSpec("answered", "BOOL", (-1,), optional=True)]
        return [event, *self._payload, *answered]

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.inputs)

    def example(self) -> tuple[dict[str, Array], Parameters]:
        """The first golden event as its first device contributes it, eagerly and alone."""
        golden, device = self.bundle.golden, self._mine[0]
        if self.bundle.topology.raw:
            return {"view": golden[f"view_{device}"][:1]}, {"device": device}
        inputs = {"scores": golden["device_scores"][:1, device], "features": golden["device_features"][:1, device]}
        return inputs, {"device": device}

    def contributions(self, request: InferRequest, terms: Terms) -> list[tuple[bytes | None, Contribution]]:
        """A device's scores, features, both, or its view."""
        request.refuse_unknown(self._names)
        device = request.integer("device", 0, self.devices - 1)
        if device is None or device not in self._mine:
            mine = ", ".join(map(str, self._mine))
            raise BadInput(f"parameter 'device' is {device}; this edge joins the devices {mine}")
        given = [spec for spec in self._payload if spec.name in request.inputs] or self._payload[-1:]
        second = given[0].name == "features"
        rows = self.rows(request, given[0].name)
        events = self.events(request, rows)
        if second and "event" not in request.inputs:
            raise BadInput("input tensor 'event' is missing; expected whose features these are, or 'scores' with them")
        tensors = {spec.name: request.take(spec.name, spec.datatype, (rows, *spec.shape[1:])) for spec in given}
        answered = (
            request.take("answered", "BOOL", (rows,)) if "answered" in request.inputs else np.zeros(rows, np.bool_)
        )
        if answered.any() and (second or "event" not in request.inputs):
            raise BadInput("input tensor 'answered' comes alone; expected 'event' and 'scores' with it")
        child, version = self._mine.index(device), self.version_below(request)
        return [
            (
                event,
                Contribution(
                    child,
                    terms,
                    # Copies: a row that waits must not keep the whole body of its request in memory.
                    {name: tensor[row : row + 1].copy() for name, tensor in tensors.items()},
                    self._present,
                    self._alone[device],
                    answered=Exit.DEVICE if answered[row] else None,
                    policy_version=version if answered[row] else None,
                    second=second,
                ),
            )
            for row, event in enumerate(events)
        ]
