"""The cloud tier: joins the edges, and its last section always answers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
from fastapi import FastAPI

from ddnn.codec import filled, parted, payload_of
from ddnn.errors import BadInput
from ddnn.golden import score_range, sent_by
from ddnn.policy import MOST_VERSIONS
from ddnn.serving.app import make_app
from ddnn.serving.collector import Children, Collector, Place
from ddnn.serving.engine import Engine
from ddnn.serving.event import Contribution
from ddnn.serving.parts import Parts, load_parts, open_bundle
from ddnn.serving.request import RequestOptions, TensorSpec, input_tensor, row_ids
from ddnn.serving.rollout.rollout import kept
from ddnn.serving.service import Service
from ddnn.settings import Settings
from ddnn.topology import Topology
from ddnn.types import Answer, Array, Bools, Exit, Tier
from ddnn.wire import InferRequest, Parameters, check_finite, shown

__all__ = ["CloudService", "create_app", "make_service"]

_EDGES_WAIT_TOO = 2  #: times as long as an edge waits for its devices: by then it has sent what it has


class CloudService(Service):
    """Fuses what the edges send: their features, or where they have no section their devices' features or views."""

    child = Tier.EDGE
    collector: Collector

    def __init__(self, parts: Parts, engine: Engine, collector: Collector) -> None:
        topology = parts.bundle.topology
        given, *below = topology.sent(Tier.EDGE)
        self._mixes, self._shape = bool(below), topology.devices[0].view.shape
        self._by_edge, self._devices, self._classes = given.child is Tier.EDGE, parts.devices, parts.classes
        self._below = [(list(edge.devices), _carried(parts, index)) for index, edge in enumerate(topology.edges)]
        self._rows = [topology.rows(given, _senders(topology, index)) for index in range(len(topology.edges))]
        longest = topology.features(given.child)
        self._longest = longest.row[0] if longest and any(self._rows) else 0
        self._scores, self._range = topology.score_codec(Exit.DEVICE), score_range(parts.bundle)
        self._exits_below = {exit.value.encode(): exit for exit in topology.exits[:-1]}
        inputs = _inputs(parts)
        self._names = tuple(spec.name for spec in inputs)
        self._budget = parts.accounts()
        super().__init__(parts, engine, inputs, _example(parts), collector=collector, accounts=self._budget)

    async def infer(self, request: InferRequest, options: RequestOptions) -> list[Answer]:
        """Take an edge's contributions to B events and answer, a row each, what became of them."""
        parts = await self._contributions(request, options)
        child, rows = parts[0][1].child, len(parts)
        free = options.audit or parts[0][1].answered
        account = None if free else self._budget.current().get(f"edge-{child}")
        if account is None:
            return await self.collector.answer(parts, options)
        if not account.solvent(self._budget.now()):
            self._budget.exceeded([f"edge-{child}"], rows)
            return [replace(self.control.nothing, degraded=True, degraded_reason="budget")] * rows
        account.charge(rows, sum(payload_of(request.inputs, row) for row in range(rows)), 0.0)
        answers = await self.collector.answer(parts, options)
        account.charge(0, 0, sum(stage.seconds for stage in options.stages if stage.name == Exit.CLOUD))
        return answers

    async def _contributions(
        self, request: InferRequest, options: RequestOptions
    ) -> list[tuple[bytes | None, Contribution]]:
        """An edge's features or views [B, …] of events in which `present` [B, D_edge] took part, or its own answers."""
        if not request.inputs.keys() <= set(self._names):
            request.refuse_unknown(self._names)
        edges = len(self._below)
        edge = request.integer("edge", 0, edges - 1)
        if edge is None and edges > 1:
            raise BadInput(f"parameter 'edge' is missing; this cloud joins the edges 0 to {edges - 1}")
        child = edge or 0
        self.demand(options.peer, child)
        mine, carried = self._below[child]
        answered = "answered" in request.inputs
        ids = row_ids(request, "scores" if answered else carried.name, self.settings.max_batch)
        rows = len(ids)
        version = request.integer("policy_version", 1, MOST_VERSIONS) if answered else None
        if answered:
            exits: Sequence[Exit | None] = self._answered(request, rows, carried.name)
            name, rounded = "scores", self._scores.wire_shape((self._classes,))
            tensor = request.take(name, self._scores.datatype, (rows, *rounded))
            scores = self._scores.unpack(tensor, (self._classes,))
            check_finite(scores, "input tensor 'scores'")
            tensor = np.clip(scores, *self._range)
        else:
            exits, name = [None] * rows, carried.name
            tensor = request.take(name, carried.datatype, (rows, *carried.shape[1:]), missing=carried.missing)
            if unequal := self._rows[child]:  # the section takes those of all side by side
                many = not self._by_edge
                tensor = parted(tensor, unequal, self._longest) if many else filled(tensor, self._longest)
        here = self._took_part(request, rows, len(mine))
        below = self._mixed_in(request, rows)
        if carried.unpack and self.decoder and not answered:
            tensor = await self.decoder.unpacked(carried, tensor, self._shape, options, here)
        if len(mine) == self._devices:  # one edge has them all, in order
            devices = here.copy()
        else:
            devices = np.zeros((rows, self._devices), np.bool_)
            devices[:, mine] = here
        if self._by_edge or answered:  # one place
            tensor, here = tensor[:, np.newaxis], np.ones((rows, 1), np.bool_)
        # One edge's events wait for no other. A copy, as a row that waits must not keep the whole body in memory.
        events = ids if edges > 1 else [None] * rows
        return [
            (event, Contribution(child, {name: sent.copy(), **more}, present, seen, exit, version))
            for event, sent, more, present, seen, exit in zip(events, tensor, below, here, devices, exits, strict=True)
        ]

    def _mixed_in(self, request: InferRequest, rows: int) -> list[dict[str, Array]]:
        """The scores of the exit below, (1, K) each, where the section mixes them in."""
        if not self._mixes:
            return [{}] * rows
        scores = request.take("scores", "FP32", (rows, self._classes))
        return [{"scores": row[np.newaxis]} for row in np.clip(scores, *self._range)]

    @staticmethod
    def _took_part(request: InferRequest, rows: int, devices: int) -> Bools:
        present: Bools = request.take("present", "BOOL", (rows, devices))
        if b"\0" in present.tobytes() and not (seen := present.any(axis=1)).all():
            raise BadInput(f"input tensor 'present' has a row, {seen.argmin()}, in which no device took part")
        return present

    def _answered(self, request: InferRequest, rows: int, carried: str) -> list[Exit]:
        if "event" not in request.inputs or carried in request.inputs:
            raise BadInput(f"input tensor 'answered' is there; expected 'event' with it, and no {carried!r}")
        if not request.take("answered", "BOOL", (rows,)).all():
            raise BadInput(f"input tensor 'answered' has a row that is false; expected {carried!r} instead of it")
        given = request.take("exit", "BYTES", (rows,)).tolist()
        for value in given:
            if value not in self._exits_below:
                names = ", ".join(self._exits_below.values())
                raise BadInput(f"input tensor 'exit' holds {shown(value)}; expected one of {names}")
        return [self._exits_below[value] for value in given]


def _carried(parts: Parts, edge: int) -> TensorSpec:
    """What edge number `edge` sends of an event that it was not sure of."""
    topology = parts.bundle.topology
    given = topology.sent(Tier.EDGE)[0]
    children = _senders(topology, edge)
    places = () if given.child is Tier.EDGE else (len(children),)
    spec = input_tensor(topology, given, children[0], parts.classes, *places, optional=_may_answer(topology))
    unequal = topology.rows(given, children)
    return replace(spec, shape=(-1, sum(unequal))) if unequal else spec


def _senders(topology: Topology, edge: int) -> Sequence[int]:
    """Whose features or views an edge sends: its own, or its devices'."""
    given = topology.sent(Tier.EDGE)[0]
    return (edge,) if given.child is Tier.EDGE else topology.edges[edge].devices


def _may_answer(topology: Topology) -> bool:
    """Whether an edge may send what it has answered: there are others to be told, and an exit below."""
    return len(topology.edges) > 1 and len(topology.exits) > 1


def _inputs(parts: Parts) -> list[TensorSpec]:
    """What an edge was not sure of, and which devices took part; of several edges, also what one was sure of."""
    edges = parts.bundle.topology.edges
    sizes = {len(edge.devices) for edge in edges}
    devices, most = (sizes.pop() if len(sizes) == 1 else -1), max(len(edge.devices) for edge in edges)
    specs = [
        _any_edges([_carried(parts, edge) for edge in range(len(edges))]),
        TensorSpec("present", "BOOL", (-1, devices), most=most),
        TensorSpec("event", "BYTES", (-1,), optional=True),
    ]
    if len(parts.bundle.topology.sent(Tier.EDGE)) > 1:
        return [*specs, TensorSpec("scores", "FP32", (-1, parts.classes))]
    if not _may_answer(parts.bundle.topology):
        return specs
    scores = parts.bundle.topology.score_codec(Exit.DEVICE)
    return [
        *specs,
        TensorSpec("scores", scores.datatype, (-1, *scores.wire_shape((parts.classes,))), optional=True),
        TensorSpec("exit", "BYTES", (-1,), optional=True),
        TensorSpec("answered", "BOOL", (-1,), optional=True),
    ]


def _any_edges(carried: Sequence[TensorSpec]) -> TensorSpec:
    """What any of the edges sends; -1 where theirs are of different sizes."""
    sizes = [set(each) for each in zip(*(spec.shape for spec in carried), strict=True)]
    most = max((max(size) for size in sizes if len(size) > 1), default=0)
    return replace(carried[0], shape=[size.pop() if len(size) == 1 else -1 for size in sizes], most=most)


def _example(parts: Parts) -> tuple[dict[str, Array], Parameters]:
    golden, topology = parts.bundle.golden, parts.bundle.topology
    mine = list(topology.edges[0].devices)
    present = golden["present"][:, mine].astype(np.bool_)
    row = slice(first := int(present.any(axis=1).argmax()), first + 1)
    given = topology.sent(Tier.EDGE)[0]
    events = {name: array[row] for name, array in golden.items()}
    children = [0] if given.child is Tier.EDGE else mine
    rows = [sent_by(topology, events, given, child) for child in children]
    if given.child is Tier.EDGE or topology.rows(given, children):
        sent = np.concatenate(rows, axis=-1)
    else:
        sent = np.stack(rows, axis=1)
    inputs = {given.what: sent, "present": present[row]}
    if len(topology.sent(Tier.EDGE)) > 1:
        inputs["scores"] = events["edge_scores"][:, 0]
    return inputs, {"edge": 0}


def create_app(settings: Settings | None = None, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """Load, verify and self-test the cloud's sections; raise `BadBundle` or `BadConfig`."""
    settings = kept(settings or Settings.load(), Tier.CLOUD)

    def make(folder: Path, beside: Parts) -> Service:
        return make_service(settings.model_copy(update={"bundle": folder}), beside)

    return make_app(make_service(settings), make)


def make_service(settings: Settings, beside: Parts | None = None) -> CloudService:
    """Put the cloud together: collector → cloud section, which always answers."""
    bundle = open_bundle(settings)
    topology = bundle.topology
    joined = range(len(topology.devices) if len(topology.edges) > 1 else 0)
    parts = load_parts(Tier.CLOUD, settings, bundle, places=1, joined=joined, beside=beside)
    engine = parts.engine()
    collector = Collector(_children(parts), engine, parts.control, parts.metrics, parts.settings.collector)
    return CloudService(parts, engine, collector)


def _children(parts: Parts) -> Children:
    """The edges: a place each, or where they have no section those of their devices."""
    topology = parts.bundle.topology
    given = topology.sent(Tier.EDGE)[0]
    by_edge = given.child is Tier.EDGE
    places: Sequence[Place] = [
        slice(number, number + 1) if by_edge else np.array(edge.devices) for number, edge in enumerate(topology.edges)
    ]
    width = len(topology.edges) if by_edge else parts.devices
    senders = range(len(topology.edges) if by_edge else parts.devices)
    each = [topology.bytes(given, child, parts.classes) for child in senders]
    if given.what == "view":  # which are decoded as they come
        each = [topology.devices[child].view.bytes for child in senders]
    size = width * max(each)
    below = [edge.devices for edge in topology.edges]
    return Children(places, width, range(parts.devices), size, _EDGES_WAIT_TOO, below=below)
