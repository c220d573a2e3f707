"""The device tier: one view in, the answer out, from its own exit or from above."""

from pathlib import Path

import httpx
import numpy as np
from fastapi import FastAPI

from ddnn.errors import BadInput, DeadlineExceeded, Overloaded, Unavailable
from ddnn.serving.app import make_app
from ddnn.serving.engine import Engine
from ddnn.serving.event import Event
from ddnn.serving.parts import Parts, load_parts, open_bundle
from ddnn.serving.pictures import Pictures
from ddnn.serving.request import RequestOptions, TensorSpec, row_ids
from ddnn.serving.rollout.rollout import kept
from ddnn.serving.service import Service
from ddnn.settings import Settings
from ddnn.types import Answer, Array, Exit, Tier
from ddnn.wire import InferRequest
from ddnn_device.offload import ToEdge
from ddnn_device.views import Views

__all__ = ["DeviceService", "create_app", "make_service"]


class DeviceService(Service):
    """Runs the section on views; unsure events go to the edge, all of them raw where there is no section.

    Where a view is an image, photographs are taken in its place.
    """

    def __init__(self, parts: Parts, engine: Engine) -> None:
        settings = parts.settings
        index, self._view = settings.index, parts.bundle.topology.devices[settings.index].view
        self._alone, pictured = np.arange(parts.devices) == index, self._view.is_picture
        self._pictures = Pictures(self._view, most_pixels=settings.max_pixels, most_bytes=settings.max_body_bytes)
        names = parts.bundle.manifest.classes
        inputs = [
            TensorSpec("view", self._view.dtype, (-1, *self._view.shape), optional=pictured),
            *([TensorSpec("picture", "BYTES", (-1,), optional=True)] if pictured else []),
            TensorSpec("event", "BYTES", (-1,), optional=True),
        ]
        example = {"view": parts.bundle.golden[f"view_{index}"][:1]}
        super().__init__(parts, engine, inputs, (example, {}), class_names=names, decoder=self._pictures)
        self._names = frozenset(self.input_names)

    async def infer(self, request: InferRequest, options: RequestOptions) -> list[Answer]:
        if not request.inputs.keys() <= self._names:
            request.refuse_unknown(self.input_names)
        name = "picture" if "picture" in request.inputs else "view"
        ids = row_ids(request, name, self.settings.max_batch)
        self.refuse_pressed(ids[0])  # a request goes the way of its first event
        if name == "picture":
            views = await self._seen(request, len(ids), options)
        else:
            shape = (len(ids), *self._view.shape)
            views = request.take("view", self._view.dtype, shape, missing=self._view.missing)
        rule, nothing = self.control.rule, self.control.nothing
        events = [
            Event(id, rule, options, {"view": view}, self._alone, nothing, self.engine)
            for id, view in zip(ids, views, strict=True)
        ]
        self.keeper.see(events)
        answers = await self.engine.answer(events, options)
        if not any(answer.label >= 0 for answer in answers):  # there is no exit here to fall back on
            reason = answers[0].degraded_reason
            if reason == "error" and self.engine.steps:
                raise BadInput("input tensor 'view' makes no finite scores; expected numbers like those of training")
            if reason == "pressed":
                raise Overloaded("the tier above is pressed, and this network has no exit below the cloud")
            kind = DeadlineExceeded if reason in ("deadline", "timeout") else Unavailable
            raise kind(f"no tier above answered ({reason}), and this network has no exit below the cloud")
        return answers

    async def _seen(self, request: InferRequest, rows: int, options: RequestOptions) -> Array:
        """The views of a request's pictures."""
        if "view" in request.inputs:
            raise BadInput("input tensors 'view' and 'picture' are both there; expected one of them")
        return await self._pictures.views(request.take("picture", "BYTES", (rows,)).tolist(), options)


def create_app(settings: Settings | None = None, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """Load, verify and self-test the device's section; raise `BadBundle` or `BadConfig`."""
    settings = kept(settings or Settings.load(), Tier.DEVICE)

    def make(folder: Path, beside: Parts) -> Service:
        return make_service(settings.model_copy(update={"bundle": folder}), transport, beside)

    return make_app(make_service(settings, transport), make)


def make_service(
    settings: Settings, transport: httpx.AsyncBaseTransport | None = None, beside: Parts | None = None
) -> DeviceService:
    """Put a device together; without a section, all its views go up raw."""
    bundle = open_bundle(settings)
    topology = bundle.topology
    parts = load_parts(Tier.DEVICE, settings, bundle, places=len(topology.devices), transport=transport, beside=beside)
    alone = len(topology.devices) == 1  # of several, the edge hears of every decision
    engine = parts.engine(
        above=next(exit for exit in topology.exits if exit is not Exit.DEVICE),
        offload=_offload(parts, alone=alone),
        audits=parts.audits() if alone else None,
        ledger=parts.ledger(Exit.DEVICE, devices=0) if alone else None,
    )
    return DeviceService(parts, engine)


def _offload(parts: Parts, *, alone: bool) -> ToEdge | None:
    if not parts.uplink:
        return None
    topology, settings = parts.bundle.topology, parts.settings
    first, later = topology.sent(Tier.DEVICE), topology.sent(Tier.DEVICE, "asked")
    packed = [given for given in (*first, *later) if given.what != "features"]  # which a section packs itself
    return ToEdge(
        parts.uplink,
        parts.metrics,
        first=tuple(given.what for given in first),
        later=tuple(given.what for given in later),
        pack={given.what: topology.codec(given, settings.index).pack for given in packed},
        background=settings.max_background,
        device=settings.index,
        alone=alone,
        views=Views(settings.views, parts.metrics) if topology.views else None,
        event_key=settings.event_key.get_secret_value().encode() if settings.event_key else b"",
    )
