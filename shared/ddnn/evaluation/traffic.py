"""Bytes on each link, per event, all devices together.

Payload = the network's own tensors (scores, features, presence); body = whole HTTP bodies, measured by encoding each
message as a tier sends it, an event a message: what a tier gathers into one request needs fewer.
Legend: N events, D devices, E edges.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ddnn.evaluation.decide import NOBODY, Decisions
from ddnn.evaluation.formula import communication_bytes
from ddnn.evaluation.messages import Messages, Size
from ddnn.evaluation.scores import Scores
from ddnn.policy import Policy
from ddnn.types import Bools, Exit, Ints

__all__ = ["Crossed", "crossings", "formula", "traffic"]


@dataclass(frozen=True, slots=True)
class Crossed:
    """Bytes of each event that cross one link, (N,) each."""

    payload: Ints
    body: Ints

    @classmethod
    def nothing(cls, events: int) -> "Crossed":
        """No bytes yet."""
        return cls(np.zeros(events, np.int64), np.zeros(events, np.int64))

    def add(self, events: Bools, size: Size) -> None:
        """Add a message for each of `events` (N,)."""
        self.payload[events] += size.payload
        self.body[events] += size.body

    def per_event(self) -> dict[str, float]:
        """The mean of each."""
        return {"payload": int(self.payload.sum()) / len(self.payload), "body": int(self.body.sum()) / len(self.body)}


def traffic(scores: Scores, decisions: Decisions, policy: Policy) -> dict[str, Any]:
    """The `bytes` part of the `evaluate --json` document."""
    devices, cloud = crossings(scores, decisions.sure, decisions.settled, policy.offload)
    views = np.array([spec.view.bytes for spec in scores.topology.devices])
    return {
        "device_to_edge": devices.per_event(),
        "edge_to_cloud": cloud.per_event(),
        "formula": formula(scores, decisions),
        "raw_views": float((scores.present * views).sum(axis=1).mean()),
    }


def crossings(
    scores: Scores, sure: Bools, settled: Ints, offload: Literal["staged", "eager"]
) -> tuple[Crossed, Crossed]:
    """What each event sends from its devices to their edges, and from the edges to the cloud.

    `sure` (N, D) are the devices that answered themselves, `settled` (N, E) the rank of the exit at which each edge
    settled its event, `NOBODY` where it sent it up or saw nothing: as in `Decisions`, or as somebody supposes.
    """
    devices, cloud = Crossed.nothing(len(scores)), Crossed.nothing(len(scores))
    messages = Messages(scores.topology, scores.cloud.shape[1])
    for index, edge in enumerate(scores.topology.edges):
        for device in edge.devices:
            _from_device(devices, messages, scores, sure[:, device], settled[:, index], device, offload)
        _from_edge(cloud, messages, scores, settled[:, index], index)
    return devices, cloud


def formula(scores: Scores, decisions: Decisions) -> float:
    """The paper's c × D bytes; l = share that the device or local exit answers. Raw views, where they go up, are it."""
    topology, cut = scores.topology, scores.topology.device_cut
    if cut is None:
        return float(sum(spec.view.bytes for spec in topology.devices))
    leave = decisions.share(Exit.DEVICE) + decisions.share(Exit.LOCAL)
    each = communication_bytes(scores.cloud.shape[1], cut.shape[0], cut.bits // cut.shape[0], leave)
    return each * len(topology.devices)


def _from_device(
    link: Crossed, messages: Messages, scores: Scores, sure: Bools, settled: Ints, device: int, offload: str
) -> None:
    there = scores.present[:, device]
    if scores.topology.device_cut is None:
        link.add(there, messages.from_device(device, "view"))
        return
    alone = len(scores.topology.devices) == 1
    if not alone:  # a sure device that is alone is the local exit: nobody else waits to be told
        link.add(there & sure, messages.from_device(device, "scores", "answered"))
    if offload == "eager":
        link.add(there & ~sure, messages.from_device(device, "scores", "features"))
    else:
        link.add(there & ~sure, messages.from_device(device, "scores"))
        asked = np.isin(settled, (NOBODY, Exit.EDGE.rank))
        link.add(there & asked, messages.from_device(device, "features"))


def _from_edge(link: Crossed, messages: Messages, scores: Scores, settled: Ints, index: int) -> None:
    there = scores.edge_present[:, index]
    link.add(there & (settled == NOBODY), messages.from_edge(index))
    if len(scores.topology.edges) > 1:
        for exit in Exit:  # the other edges' callers wait for what this one already answered
            link.add(there & (settled == exit.rank), messages.told(index, exit))
