"""The cloud: joins the edges, and its last section always answers."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import httpx
import numpy as np

from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.serving.case import Contribution, Terms
from ddnn.serving.engine import Step
from ddnn.serving.joining import JoiningService
from ddnn.serving.pending import Place
from ddnn.serving.tensors import TensorSpec
from ddnn.settings import Settings
from ddnn.types import Array, Bools, Exit, Tier
from ddnn.wire import InferRequest, Parameters, shown

__all__ = ["CloudService"]

_ONE = np.ones(1, np.bool_)
_EDGES_WAIT_TOO = 2
"""Times as long as an edge waits for its devices: by then it has sent what it has."""


class CloudService(JoiningService):
    """Fuses what the edges send: their features, or where they have no section their devices' features or views."""

    tier = Tier.CLOUD

    def __init__(self, bundle: Bundle, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__(bundle, settings, transport)
        topology, cut = bundle.topology, bundle.topology.cloud_cut
        self._by_edge = topology.edge_cut is not None
        places: list[Place] = [
            slice(number, number + 1) if self._by_edge else np.array(edge.devices)
            for number, edge in enumerate(topology.edges)
        ]
        width = len(topology.edges) if self._by_edge else self.devices
        each = cut.bytes if cut else topology.devices[0].view.bytes
        self.collect(
            places, width=width, devices=range(self.devices), event_bytes=width * each, patience=_EDGES_WAIT_TOO
        )
        self._below = [(list(edge.devices), self._carried(len(edge.devices))) for edge in topology.edges]
        step = Step(Exit.CLOUD, self.sections["section"], needs="view" if topology.raw else "features", cut=cut)
        self.engine = self.make_engine([step])

    def _carried(self, devices: int) -> TensorSpec:
        """What an edge of so many devices sends of an event that it was not sure of; -1 = any number."""
        topology, joins = self.bundle.topology, len(self.bundle.topology.edges) > 1
        if topology.edge_cut:
            return TensorSpec("features", "UINT8", (-1, topology.edge_cut.bytes), optional=joins)
        if topology.device_cut:
            return TensorSpec("features", "UINT8", (-1, devices, topology.device_cut.bytes), optional=joins)
        view = topology.devices[0].view
        return TensorSpec("view", view.dtype, (-1, devices, *view.shape))

    @cached_property
    def inputs(self) -> Sequence[TensorSpec]:
        """What an edge was not sure of, and which devices took part; of several edges, also what one was sure of."""
        edges = self.bundle.topology.edges
        sizes = {len(edge.devices) for edge in edges}
        devices, most = (sizes.pop() if len(sizes) == 1 else -1), max(len(edge.devices) for edge in edges)
        specs = [
            replace(self._carried(devices), most=most),
            TensorSpec("present", "BOOL", (-1, devices), most=most),
            TensorSpec("event", "BYTES", (-1,), optional=True),
        ]
        if len(edges) == 1 or self.bundle.topology.raw:
            return specs
        return [
            *specs,
            TensorSpec("scores", "FP32", (-1, self.classes), optional=True),
            TensorSpec("exit", "BYTES", (-1,), optional=True),
            TensorSpec("answered", "BOOL", (-1,), optional=True),
        ]

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.inputs)

    def example(self) -> tuple[dict[str, Array], Parameters]:
        """The first golden event that some device of the first edge sees, as that edge sends it."""
        golden, mine = self.bundle.golden, list(self.bundle.topology.edges[0].devices)
        present = golden["present"][:, mine].astype(np.bool_)
        row = slice(first := int(present.any(axis=1).argmax()), first + 1)
        if self.bundle.topology.raw:
            inputs = {"view": np.stack([golden[f"view_{device}"][row] for device in mine], axis=1)}
        elif self.bundle.topology.edge_cut:
            inputs = {"features": golden["edge_features"][row, 0]}
        else:
            inputs = {"features": golden["device_features"][row][:, mine]}
        return {**inputs, "present": present[row]}, {"edge": 0}

    def contributions(self, request: InferRequest, terms: Terms) -> list[tuple[bytes | None, Contribution]]:
        """An edge's features or views [B, …] of events in which `present` [B, D_edge] took part, or its own answers."""
        request.refuse_unknown(self._names)
        edges = len(self._below)
        edge = request.integer("edge", 0, edges - 1)
        if edge is None and edges > 1:
            raise BadInput(f"parameter 'edge' is missing; this cloud joins the edges 0 to {edges - 1}")
        child = edge or 0
        mine, carried = self._below[child]
        answered = "answered" in request.inputs
        rows = self.rows(request, "scores" if answered else carried.name)
        version = self.version_below(request) if answered else None
        if answered:
            exits: Sequence[Exit | None] = self._answered(request, rows, carried.name)
            name, tensor = "scores", request.take("scores", "FP32", (rows, self.classes))
        else:
            exits, name = [None] * rows, carried.name
            tensor = request.take(name, carried.datatype, (rows, *carried.shape[1:]))
        here = self._took_part(request, rows, len(mine))
        if len(mine) == self.devices:  # one edge has them all, in order
            devices = here.copy()
        else:
            devices = np.zeros((rows, self.devices), np.bool_)
            devices[:, mine] = here
        one_place = self._by_edge or answered
        if one_place:
            tensor = tensor[:, np.newaxis]
        # One edge's events wait for nobody. A copy, as a row that waits must not keep the whole body in memory.
        events = self.events(request, rows) if edges > 1 else [None] * rows
        return [
            (
                event,
                Contribution(
                    child,
                    terms,
                    {name: tensor[row].copy()},
                    _ONE if one_place else here[row],
                    devices[row],
                    answered=exits[row],
                    policy_version=version,
                ),
            )
            for row, event in enumerate(events)
        ]

    @staticmethod
    def _took_part(request: InferRequest, rows: int, devices: int) -> Bools:
        present: Bools = request.take("present", "BOOL", (rows, devices))
        if b"\0" in present.tobytes() and not (seen := present.any(axis=1)).all():
            raise BadInput(f"input tensor 'present' has a row, {seen.argmin()}, in which no device took part")
        return present

    def _answered(self, request: InferRequest, rows: int, carried: str) -> list[Exit]:
        """The exits at which an edge answered."""
        if "event" not in request.inputs or carried in request.inputs:
            raise BadInput(f"input tensor 'answered' is there; expected 'event' with it, and no {carried!r}")
        if not request.take("answered", "BOOL", (rows,)).all():
            raise BadInput(f"input tensor 'answered' has a row that is false; expected {carried!r} instead of it")
        below = {exit.value.encode(): exit for exit in self.bundle.topology.exits[:-1]}
        given = request.take("exit", "BYTES", (rows,)).tolist()
        for value in given:
            if value not in below:
                names = ", ".join(below.values())
                raise BadInput(f"input tensor 'exit' holds {shown(value)}; expected one of {names}")
        return [below[value] for value in given]
