"""How long the callers of an event wait for its answer, from their views on, were no other event under way.

Counted: each section, each message on its links, both ways. Left out: queues, what HTTP and Python take, HTTP headers,
the waking of a process, and a collector's wait for a device that is late or gone: all of an event's views come at once.
Legend: N events, D devices, E edges.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from ddnn.errors import BadInput
from ddnn.evaluation import NOBODY, Scores
from ddnn.links import LINKS, Shape, parse_links
from ddnn.topology import Input
from ddnn.traffic import Messages, Offload
from ddnn.tuning.profile import Profile
from ddnn.types import Array, Bools, Exit, Ints, Tier

__all__ = ["Links", "seconds"]


@dataclass(frozen=True, slots=True)
class Links:
    """Both links of a fleet; jitter does not count, as means are counted."""

    device_edge: Shape = field(default_factory=Shape)
    edge_cloud: Shape = field(default_factory=Shape)
    shared: bool = False
    """Whether the devices of an edge share one link; else each has its own."""

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
        near, far = (shapes.get(name, Shape()) for name in LINKS)
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


def seconds(scores: Scores, sure: Bools, settled: Ints, offload: Offload, links: Links, profile: Profile) -> Array:
    """(N,) the mean over an event's callers, one a device that took part, of the time from view to answer.

    `sure` (N, D) and `settled` (N, E) as in `Decisions`. 0 where nobody took part.
    """
    return _Fleet(scores, offload, links, profile).waited(sure, settled)


class _Fleet:
    """Tiers that work on one event at a time."""

    def __init__(self, scores: Scores, offload: Offload, links: Links, profile: Profile) -> None:
        self._scores, self._topology, self._offload = scores, scores.topology, offload
        self._links, self._profile = links, profile
        self._messages = Messages(scores.topology, scores.classes)
        devices = len(scores.topology.devices)
        self._devices = np.array([timing.median_s for timing in profile.device] or [0.0] * devices)

    def waited(self, sure: Bools, settled: Ints) -> Array:
        """(N,) mean over the callers."""
        near, far, there = self._links.device_edge, self._links.edge_cloud, self._scores.edge_present
        at_edge, at_cloud = np.zeros(there.shape), np.zeros(there.shape)
        for index in range(len(self._topology.edges)):
            at_edge[:, index] = self._settled_at(index, sure, settled[:, index])
            size = np.full(len(there), self._messages.from_edge(index).body)
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

        always, later = (self._topology.sent(Tier.DEVICE, when) for when in ("always", "asked"))
        first = np.where(sure[:, devices], sizes(always, answered=True), sizes(always if staged else always + later))
        arrived = self._arrive(devices, self._devices[devices], near.seconds(first))
        if Exit.LOCAL not in self._topology.exits:
            return arrived
        local = features = arrived + self._profile.local[index].median_s
        if staged:
            asking = near.round_trip_s / 2 + near.seconds(self._messages.answer(Exit.LOCAL, by_edge=True).body)
            features = local + asking + self._arrive(devices, np.zeros(len(devices)), near.seconds(sizes(later)))
        edge = features + (self._profile.edge[index].median_s if self._profile.edge else 0.0)
        return np.where(settled == Exit.DEVICE.rank, arrived, np.where(settled == Exit.LOCAL.rank, local, edge))

    def _arrive(self, devices: Array, ready: Array, passing: Array) -> Array:
        """(N,) when the last device's message is at the edge; on a link that they share they queue."""
        there = self._scores.present[:, devices]
        if self._links.shared:
            last = np.where(there, ready, 0).max(axis=1) + np.where(there, passing, 0).sum(axis=1)
        else:
            last = np.where(there, ready + passing, 0).max(axis=1)
        return np.asarray(last + self._links.device_edge.round_trip_s / 2)
