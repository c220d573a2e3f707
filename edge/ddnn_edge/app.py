"""The edge tier: joins what its devices send, and sends to the cloud what no exit here is sure of."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
from fastapi import FastAPI

from ddnn.codec import filled
from ddnn.errors import BadInput
from ddnn.golden import score_range, sent_by
from ddnn.policy import MOST_VERSIONS
from ddnn.serving.app import make_app
from ddnn.serving.budget import Accounts, Escalation
from ddnn.serving.collector import Children, Collector
from ddnn.serving.engine import Engine
from ddnn.serving.event import Contribution
from ddnn.serving.outliers import SetAside
from ddnn.serving.parts import Parts, load_parts, open_bundle
from ddnn.serving.request import RequestOptions, TensorSpec, input_tensor, row_ids
from ddnn.serving.rollout.rollout import kept
from ddnn.serving.service import Service
from ddnn.settings import Settings
from ddnn.topology import Input, Topology
from ddnn.types import Answer, Array, Exit, Tier
from ddnn.wire import InferRequest, Parameters, check_finite, shown, whole
from ddnn_edge.offload import ToCloud, ToJoiningCloud
from ddnn_edge.payers import Payers

__all__ = ["EdgeService", "create_app", "make_service"]

_MOST_AT_ONCE = 512  #: events in one request to the cloud
Parted = tuple[bytes | None, Contribution]


class EdgeService(Service):
    """Takes a device's scores first, features when asked for, or its raw view; parameter `device` says whose."""

    child = Tier.DEVICE
    collector: Collector

    def __init__(self, parts: Parts, engine: Engine, collector: Collector, accounts: Accounts | None = None) -> None:
        topology = parts.bundle.topology
        self._mine, self._classes = topology.edges[parts.settings.index].devices, parts.classes
        self._present = np.ones(1, np.bool_)
        self._alone = np.eye(parts.devices, dtype=np.bool_)
        self._payload = {device: _payload(parts, device) for device in self._mine}
        self._longest, self._shape = _longest(topology, self._mine), topology.devices[0].view.shape
        self._scores = topology.score_codec(Exit.DEVICE)
        self._range = {
            device: score_range(parts.bundle, device=device)
            for device in self._mine
            if topology.exits[0] is Exit.DEVICE
        }
        self._second = {given.what for given in topology.sent(Tier.DEVICE, "asked")}
        can_answer = Exit.DEVICE in topology.exits
        answered = [TensorSpec("answered", "BOOL", (-1,), optional=True)] if can_answer else []
        waits = [TensorSpec("waits", "BOOL", (-1,), optional=True)] if topology.views else []
        inputs = [TensorSpec("event", "BYTES", (-1,), optional=True), *self._described(), *answered, *waits]
        self._names = frozenset(spec.name for spec in inputs)
        example = _example(parts, self._mine[0])
        super().__init__(parts, engine, inputs, example, collector=collector, accounts=accounts, need_features=True)

    async def infer(self, request: InferRequest, options: RequestOptions) -> list[Answer]:
        """Take contributions, and features that audits have asked for, which are only acknowledged."""
        parts = await self._contributions(request, options)
        if options.audit and parts[0][1].second and self.engine.audits:
            for event, part in parts:
                if copy := self.engine.audits.take(event, part.child, part.inputs):
                    self.engine.start([copy])
            return [self.control.nothing] * len(parts)
        return await self.collector.answer(parts, options)

    async def _contributions(self, request: InferRequest, options: RequestOptions) -> list[Parted]:
        """One device's scores, features, view, or some of these, of B events, each with its event's id."""
        if not request.inputs.keys() <= self._names:
            request.refuse_unknown(self.input_names)
        device = whole(request.parameters.get("device"))
        if type(device) is not int or device not in self._mine:
            mine = ", ".join(map(str, self._mine))
            raise BadInput(f"parameter 'device' is {shown(device)}; this edge joins the devices {mine}")
        self.demand(options.peer, device)
        child = self._mine.index(device)
        if "waits" in request.inputs:
            return self._waiting(request, child, device)
        given = [spec for spec in self._payload[device] if spec.name in request.inputs] or self._payload[device][-1:]
        second = given[0].name in self._second
        events = row_ids(request, given[0].name, self.settings.max_batch)
        rows = len(events)
        if second and "event" not in request.inputs:
            raise BadInput("input tensor 'event' is missing; expected whose features these are, or 'scores' with them")
        tensors = {
            spec.name: request.take(spec.name, spec.datatype, (rows, *spec.shape[1:]), missing=spec.missing)
            for spec in given
        }
        for spec in given:
            if spec.unpack and self.decoder:
                files = tensors[spec.name]
                await self.decoder.unpacked(spec, files, self._shape, options, np.ones(rows, np.bool_))
        if self._longest and "features" in tensors:  # fusion takes those of all devices side by side
            tensors["features"] = filled(tensors["features"], self._longest)
        if "scores" in tensors:  # here, as sections, votes and the answers of sure devices all take them
            scores = self._scores.unpack(tensors["scores"], (self._classes,))
            check_finite(scores, "input tensor 'scores'")
            low, high = self._range[device]
            # Of a few numbers a third of what `np.clip` takes.
            tensors["scores"] = np.minimum(np.maximum(scores, low), high)
        sure = "answered" in request.inputs
        answered = request.take("answered", "BOOL", (rows,)) if sure else np.zeros(rows, np.bool_)
        if answered.any() and (second or "event" not in request.inputs):
            raise BadInput("input tensor 'answered' comes alone; expected 'event' and 'scores' with it")
        version = None
        if "policy_version" in request.parameters:
            version = request.integer("policy_version", 1, MOST_VERSIONS)
        parts: list[Parted] = []
        for row, event in enumerate(events):
            # Copies: a row that waits must not keep the whole body of its request in memory.
            inputs = {name: tensor[row : row + 1].copy() for name, tensor in tensors.items()}
            exit, known = (Exit.DEVICE, version) if answered[row] else (None, None)
            part = Contribution(child, inputs, self._present, self._alone[device], exit, known, second)
            parts.append((event, part))
        return parts

    def _waiting(self, request: InferRequest, child: int, device: int) -> list[Parted]:
        """Events of which a device has no more to give: its view is gone, or not asked for."""
        events = row_ids(request, "waits", self.settings.max_batch)
        if set(request.inputs) != {"event", "waits"} or not request.take("waits", "BOOL", (len(events),)).all():
            raise BadInput("input tensor 'waits' is there; expected it with 'event' alone, and true in all rows")
        empty = Contribution(child, {}, self._present, self._alone[device], second=True)
        return [(event, empty) for event in events]

    def _described(self) -> list[TensorSpec]:
        """What any device sends; -1 where their features are of unequal lengths."""
        first = self._payload[self._mine[0]]
        if not self._longest:
            return first
        return [spec if spec.name == "scores" else replace(spec, shape=(-1, -1), most=self._longest) for spec in first]


def _longest(topology: Topology, mine: Sequence[int]) -> int:
    """Elements of a row of features as sections take it, where devices send fewer; else 0."""
    unequal = any(topology.rows(given, mine) for given in _sent(topology))
    longest = topology.features(Tier.DEVICE)
    return longest.row[0] if unequal and longest else 0


def _payload(parts: Parts, device: int) -> list[TensorSpec]:
    topology, sent = parts.bundle.topology, _sent(parts.bundle.topology)
    return [input_tensor(topology, given, device, parts.classes, optional=len(sent) > 1) for given in sent]


def _sent(topology: Topology) -> tuple[Input, ...]:
    return (*topology.sent(Tier.DEVICE), *topology.sent(Tier.DEVICE, "asked"))


def _example(parts: Parts, device: int) -> tuple[dict[str, Array], Parameters]:
    golden = {name: array[:1] for name, array in parts.bundle.golden.items()}
    topology = parts.bundle.topology
    rows: dict[str, Array] = {given.what: sent_by(topology, golden, given, device) for given in _sent(topology)}
    if "scores" in rows:
        rows["scores"] = topology.score_codec(Exit.DEVICE).pack(rows["scores"])
    return rows, {"device": device}


def create_app(settings: Settings | None = None, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """Load, verify and self-test the edge's sections; raise `BadBundle` or `BadConfig`."""
    settings = kept(settings or Settings.load(), Tier.EDGE)

    def make(folder: Path, beside: Parts) -> Service:
        return make_service(settings.model_copy(update={"bundle": folder}), transport, beside)

    return make_app(make_service(settings, transport), make)


def make_service(
    settings: Settings, transport: httpx.AsyncBaseTransport | None = None, beside: Parts | None = None
) -> EdgeService:
    """Put an edge together: collector → local exit → edge section → cloud; without sections, collector → cloud."""
    bundle = open_bundle(settings)
    topology = bundle.topology
    devices = range(len(topology.devices))
    parts = load_parts(
        Tier.EDGE, settings, bundle, places=len(topology.edges), joined=devices, transport=transport, beside=beside
    )
    mine = topology.edges[settings.index].devices
    accounts = parts.accounts() if parts.uplink else None
    engine = parts.engine(
        above=Exit.CLOUD,
        offload=_offload(parts, mine, accounts),
        audits=parts.audits(),
        ledger=parts.ledger(Exit.EDGE, devices=len(mine), edge=settings.index),
    )
    collector = Collector(_children(parts, mine), engine, parts.control, parts.metrics, parts.settings.collector)
    collector.outliers = SetAside(parts.control, mine, parts.metrics, parts.trail)
    return EdgeService(parts, engine, collector, accounts)


def _children(parts: Parts, mine: tuple[int, ...]) -> Children:
    topology, count = parts.bundle.topology, len(mine)
    sent = _sent(topology)
    each = max(sum(topology.bytes(given, device, parts.classes) for given in sent) for device in mine)
    places = [slice(place, place + 1) for place in range(count)]
    return Children(places, count, mine, count * each, views=topology.views)


def _offload(parts: Parts, mine: tuple[int, ...], accounts: Accounts | None) -> ToCloud | None:
    if not parts.uplink or accounts is None:
        return None
    topology, settings = parts.bundle.topology, parts.settings
    carried = topology.sent(Tier.EDGE)
    unequal = [topology.rows(given, mine) for given in carried if given.child is Tier.DEVICE]
    kind = ToJoiningCloud if len(topology.edges) > 1 else ToCloud
    carries = tuple(given.what for given in carried if given.what != "scores")
    return kind(
        parts.uplink,
        parts.metrics,
        carries=carries,
        budget=Escalation(accounts, Payers(parts.sections.get("local")), (*carries, "present")),
        mixes=any(given.what == "scores" for given in carried),
        background=settings.max_background,
        edge=settings.index,
        devices_below=mine,
        max_batch=min(_MOST_AT_ONCE, settings.max_batch),
        scores=topology.score_codec(Exit.DEVICE),
        rows=next(iter(unequal), ()),
    )
