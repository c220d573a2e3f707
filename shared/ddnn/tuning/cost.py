"""What an event costs, by the exit that answers it: bytes, or the seconds that its callers wait.

Seconds are from the callers' views on, were no other event under way. Counted: each section, each message on its links,
both ways. Left out: queues, what HTTP and Python take, HTTP headers, the waking of a process, and a collector's wait
for a device that is late or gone: all of an event's views come at once.
Legend: N events, D devices, E edges, X exits that are asked in turn, the cloud's last.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from ddnn.errors import BadInput
from ddnn.evaluation import NOBODY, Decisions, Scores
from ddnn.formatting import milliseconds
from ddnn.links import LINKS, LinkShape, parse_links
from ddnn.topology import Input, Topology
from ddnn.traffic import Messages, Offload, crossings
from ddnn.tuning.profile import Profile
from ddnn.types import Array, Bools, Exit, Ints, Tier

__all__ = ["KINDS", "CostModel", "Kind", "Links", "Offload", "Over", "exits_asked"]

Kind = Literal["payload", "body", "latency"]
Over = Literal["all", "device-edge", "edge-cloud"]
KINDS: tuple[Kind, ...] = ("payload", "body", "latency")


def exits_asked(topology: Topology) -> tuple[Exit, ...]:
    """The exits asked in turn, the cloud last, while the device exit of a group is off.

    A device that is alone is its own local exit, whose answer would repeat its own.
    """
    first = Exit.DEVICE if len(topology.devices) == 1 else Exit.LOCAL
    return tuple(exit for exit in (first, Exit.EDGE, Exit.CLOUD) if exit in topology.exits)


@dataclass(frozen=True, slots=True)
class Links:
    """Both links of a fleet; jitter does not count, as means are counted."""

    device_edge: LinkShape = field(default_factory=LinkShape)
    edge_cloud: LinkShape = field(default_factory=LinkShape)
    shared: bool = False  #: whether the devices of an edge share one link; else each has its own

    @classmethod
    def parse(cls, given: Sequence[str], *, shared: bool = False) -> Self:
        """Links out of `device-edge=5ms,50mbit` and `edge-cloud=40ms,10mbit`; raise `BadInput` for what is none.

        Either part may be left out; a link not named, and what is left out, takes no time.
        """
        shapes = parse_links(given)
        for name, shape in shapes.items():
            if shape.jitter_s:
                raise BadInput(
                    f"link {name} is {shape}, with a jitter; expected a round trip and a rate: means are counted"
                )
        near, far = (shapes.get(name, LinkShape()) for name in LINKS)
        return cls(near, far, shared)

    def document(self) -> dict[str, Any]:
        """As JSON: seconds and bits a second, None for any rate."""
        both = zip(LINKS, (self.device_edge, self.edge_cloud), strict=True)
        return {
            name: {
                "round_trip_s": link.round_trip_s,
                "bits_per_s": None if math.isinf(link.bits_per_s) else link.bits_per_s,
            }
            for name, link in both
        } | {"shared": self.shared}


@dataclass(frozen=True)
class CostModel:
    """What is counted."""

    kind: Kind = "payload"
    """payload: the network's own tensors, in bytes; body: whole HTTP bodies, in bytes; latency: seconds from view to
    answer, the mean over an event's callers."""
    over: Over = "all"  #: which links' bytes count; a caller waits for all of them
    links: Links = field(default_factory=Links)  #: for latency
    profile: Profile | None = None  #: how long sections take, for latency; without, they take no time

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput(f"cost is {self.kind!r}; expected one of {', '.join(KINDS)}")
        if self.over not in ("all", *LINKS):
            raise BadInput(f"over is {self.over!r}; expected all, {' or '.join(LINKS)}")
        if self.kind == "latency" and self.over != "all":
            raise BadInput(f"over is {self.over!r} with latency; expected all: a caller waits for every link")

    @property
    def unit(self) -> Literal["seconds", "bytes"]:
        """Of one event's cost."""
        return "seconds" if self.kind == "latency" else "bytes"

    def document(self) -> dict[str, Any]:
        """As JSON, for reports and the policy's `tuned`."""
        document: dict[str, Any] = {"kind": self.kind, "unit": self.unit, "over": self.over}
        if self.kind == "latency":
            sections = self.profile and self.profile.model_dump(mode="json")
            document |= {"links": self.links.document(), "sections": sections}
        return document

    def text(self, cost: float) -> str:
        """A mean cost for people: bytes, or milliseconds."""
        return f"{cost:,.1f} {self.kind} bytes" if self.unit == "bytes" else milliseconds(cost, 2)

    def at_exits(self, scores: Scores, offload: Offload) -> Array:
        """(N, X) what each event costs if it is answered at the x-th of `exits_asked`.

        With one edge the mean over events, each at the exit where it is answered, is exactly what `spent` says of the
        decisions. With several edges each settles its event by itself and the surest answers, so that an event's cost
        depends on all of them: these are the costs if all of an event's edges settle at the same exit, and `spent` is
        to be asked for what a policy costs.
        """
        columns = []
        for exit in exits_asked(scores.topology):
            rank = NOBODY if exit is Exit.CLOUD else exit.rank
            settled = np.where(scores.edge_present, rank, NOBODY)
            columns.append(self._count(scores, scores.present & (exit is Exit.DEVICE), settled, offload))
        return np.stack(columns, axis=1)

    def spent(self, scores: Scores, decisions: Decisions, offload: Offload) -> Array:
        """(N,) what each event costs under `decisions`, whatever the thresholds and however many edges."""
        return self._count(scores, decisions.sure, decisions.settled, offload)

    def _count(self, scores: Scores, sure: Bools, settled: Ints, offload: Offload) -> Array:
        """(N,), `sure` (N, D) and `settled` (N, E) as in `Decisions`."""
        if self.kind == "latency":
            profile = self.profile or Profile.instant(scores.topology)
            return _Fleet(scores, offload, self.links, profile).waited(sure, settled)
        given = scores.topology, scores.classes, scores.present, sure, settled, offload
        both = crossings(*given, asked=scores.asked, view_bytes=scores.view_bytes)
        counted = LINKS if self.over == "all" else (self.over,)
        sizes = (getattr(crossed, self.kind) for name, crossed in zip(LINKS, both, strict=True) if name in counted)
        return np.asarray(sum(sizes), dtype=np.float64)


class _Fleet:
    """Tiers that work on one event at a time."""

    def __init__(self, scores: Scores, offload: Offload, links: Links, profile: Profile) -> None:
        self._scores, self._topology, self._offload = scores, scores.topology, offload
        self._links, self._profile = links, profile
        self._messages = Messages(scores.topology, scores.classes)
        devices = len(scores.topology.devices)
        usual = np.full(scores.present.shape, self._messages.file)
        self._files = np.where(scores.asked, usual if scores.view_bytes is None else scores.view_bytes, 0)
        self._devices = np.array([timing.median_s for timing in profile.device] or [0.0] * devices)

    def waited(self, sure: Bools, settled: Ints) -> Array:
        """(N,) the mean over an event's callers, one a device that took part, of the time from view to answer.

        `sure` (N, D) and `settled` (N, E) as in `Decisions`. 0 where nobody took part.
        """
        near, far, there = self._links.device_edge, self._links.edge_cloud, self._scores.edge_present
        at_edge, at_cloud = np.zeros(there.shape), np.zeros(there.shape)
        for index, edge in enumerate(self._topology.edges):
            at_edge[:, index] = self._settled_at(index, sure, settled[:, index])
            size = self._messages.from_edge(index).body + self._files[:, edge.devices].sum(axis=1)
            for exit in (Exit.DEVICE, Exit.LOCAL, Exit.EDGE):
                size[settled[:, index] == exit.rank] = self._messages.answered(index, exit).body
            at_cloud[:, index] = at_edge[:, index] + far.seconds(size) + far.round_trip_s / 2

        # A cloud that joins edges has all it needs when the last is there; it runs only if none of them was sure.
        joined = np.where(there, at_cloud, 0).max(axis=1)
        below = ((settled != NOBODY) & there).any(axis=1)
        joined += np.where(below, 0, self._profile.cloud.median_s)
        down = joined + far.seconds(self._messages.answer(Exit.CLOUD, by_edge=False).body) + far.round_trip_s / 2
        answer = self._messages.answer(Exit.CLOUD, by_edge=True).body  # of other exits a byte more or less
        back = np.where(settled == NOBODY, down[:, None], at_edge) + near.seconds(answer) + near.round_trip_s / 2

        edge_of = [self._topology.edge_of(device) for device in range(len(self._devices))]
        held, present = np.where(sure, self._devices, back[:, edge_of]), self._scores.present
        return np.asarray((held * present).sum(axis=1) / np.maximum(present.sum(axis=1), 1))

    def _settled_at(self, index: int, sure: Bools, settled: Ints) -> Array:
        """(N,) when an edge has its event's answer, or has what goes up to the cloud."""
        near, staged = self._links.device_edge, self._offload == "staged"
        devices = np.asarray(self._topology.edges[index].devices)

        def sizes(carried: Sequence[Input], *, answered: bool = False) -> Array:
            messages = (self._messages.from_device(int(device), carried, answered=answered) for device in devices)
            return np.array([message.body for message in messages])

        views, always = self._topology.views, self._topology.sent(Tier.DEVICE)
        later = tuple(given for given in self._topology.sent(Tier.DEVICE, "asked") if given != views)
        first = np.where(sure[:, devices], sizes(always, answered=True), sizes(always if staged else always + later))
        arrived = self._arrive(devices, self._devices[devices], near.seconds(first), self._scores.present)
        if Exit.LOCAL not in self._topology.exits:
            return arrived
        local = features = arrived + self._profile.local[index].median_s
        if staged:
            asking = near.round_trip_s / 2 + near.seconds(self._messages.answer(Exit.LOCAL, by_edge=True).body)
            passing = near.seconds(sizes(later))
            features = local + asking + self._arrive(devices, np.zeros(len(devices)), passing, self._scores.present)
        edge = features + (self._profile.edge[index].median_s if self._profile.edge else 0.0)
        if views:  # what goes up is there when they are
            asking = near.round_trip_s / 2 + near.seconds(self._messages.answer(Exit.EDGE, by_edge=True).body)
            passing = near.seconds(sizes((views,)) + self._files[:, devices])
            asked = edge + asking + self._arrive(devices, np.zeros(len(devices)), passing, self._scores.asked)
            edge = np.where(settled == NOBODY, asked, edge)
        return np.where(settled == Exit.DEVICE.rank, arrived, np.where(settled == Exit.LOCAL.rank, local, edge))

    def _arrive(self, devices: Array, ready: Array, passing: Array, senders: Bools) -> Array:
        """(N,) when the last message of the `senders` (N, D) is at the edge; on a link that they share they queue."""
        there = senders[:, devices]
        if self._links.shared:
            last = np.where(there, ready, 0).max(axis=1) + np.where(there, passing, 0).sum(axis=1)
        else:
            last = np.where(there, ready + passing, 0).max(axis=1)
        return np.asarray(last + self._links.device_edge.round_trip_s / 2)
