"""Bytes on each link, per event, all devices together.

Payload = the network's own tensors (scores, features, presence); body = whole HTTP bodies, measured by encoding each
message as a tier sends it, an event a message: what a tier gathers into one request needs fewer.
"""

from typing import Any, Final

import numpy as np

from ddnn.evaluation.decide import NOBODY, Decisions
from ddnn.evaluation.formula import communication_bytes
from ddnn.evaluation.scores import Scores
from ddnn.policy import Policy
from ddnn.tier import Exit
from ddnn.types import Array, Bools
from ddnn.wire import Parameters, encode_request

__all__ = ["formula", "traffic"]

_PAYLOAD: Final = ("view", "scores", "features", "present")
_EVENT: Final = b"0" * 32
"""An event id as the client makes them: 32 characters."""


def traffic(scores: Scores, decisions: Decisions, policy: Policy) -> dict[str, Any]:
    """The `bytes` part of the `evaluate --json` document."""
    devices, cloud = _Link(len(scores)), _Link(len(scores))
    for index, edge in enumerate(scores.topology.edges):
        settled = decisions.settled[:, index]
        for device in edge.devices:
            _from_device(devices, scores, decisions.sure[:, device], settled, device, policy)
        _from_edge(cloud, scores, settled, index)
    views = np.array([spec.view.bytes for spec in scores.topology.devices])
    return {
        "device_to_edge": devices.per_event(),
        "edge_to_cloud": cloud.per_event(),
        "formula": formula(scores, decisions),
        "raw_views": float((scores.present * views).sum(axis=1).mean()),
    }


def formula(scores: Scores, decisions: Decisions) -> float:
    """The paper's c × D bytes; l = share that the device or local exit answers. Raw views, where they go up, are it."""
    topology, cut = scores.topology, scores.topology.device_cut
    if cut is None:
        return float(sum(spec.view.bytes for spec in topology.devices))
    leave = decisions.share(Exit.DEVICE) + decisions.share(Exit.LOCAL)
    each = communication_bytes(scores.cloud.shape[1], cut.shape[0], cut.bits // cut.shape[0], leave)
    return each * len(topology.devices)


class _Link:
    """Sums what crosses one link."""

    def __init__(self, events: int) -> None:
        self._events, self._payload, self._body = events, 0, 0

    def send(self, count: int, parameters: Parameters, **tensors: Array) -> None:
        """Add `count` messages, each of one event with these tensors."""
        event = np.array([_EVENT], dtype=np.object_)
        body, _ = encode_request({"event": event, **tensors}, parameters=parameters)
        self._payload += count * sum(array.nbytes for name, array in tensors.items() if name in _PAYLOAD)
        self._body += count * len(body)

    def per_event(self) -> dict[str, float]:
        return {"payload": self._payload / self._events, "body": self._body / self._events}


def _to_edge(device: int) -> Parameters:
    return {"device": device, "max_exit": Exit.CLOUD.value}


def _from_device(link: _Link, scores: Scores, sure: Bools, settled: Array, device: int, policy: Policy) -> None:
    topology, there = scores.topology, scores.present[:, device]
    if topology.device_cut is None:
        view = topology.devices[device].view
        link.send(int(there.sum()), _to_edge(device), view=np.zeros((1, *view.shape), view.numpy_dtype))
        return
    own = np.zeros((1, scores.cloud.shape[1]), np.float32)
    features = np.zeros((1, topology.device_cut.bytes), np.uint8)
    alone = len(topology.devices) == 1
    if not alone:  # a sure device that is alone is the local exit: nobody else waits to be told
        link.send(int((there & sure).sum()), _to_edge(device), scores=own, answered=np.ones(1, np.bool_))
    unsure = int((there & ~sure).sum())
    if policy.offload == "eager":
        link.send(unsure, _to_edge(device), scores=own, features=features)
    else:
        asked = int((there & np.isin(settled, (NOBODY, Exit.EDGE.rank))).sum())
        link.send(unsure, _to_edge(device), scores=own)
        link.send(asked, _to_edge(device), features=features)


def _from_edge(link: _Link, scores: Scores, settled: Array, index: int) -> None:
    topology, there = scores.topology, scores.edge_present[:, index]
    devices = topology.edges[index].devices
    present = np.ones((1, len(devices)), np.bool_)
    view, cut = topology.devices[devices[0]].view, topology.device_cut
    carried: Array = np.zeros((1, len(devices), *view.shape), view.numpy_dtype)
    if cut:
        shape = (1, topology.edge_cut.bytes) if topology.edge_cut else (1, len(devices), cut.bytes)
        carried = np.zeros(shape, np.uint8)
    up = int((there & (settled == NOBODY)).sum())
    link.send(up, {"edge": index}, **{"features" if cut else "view": carried}, present=present)
    if len(topology.edges) == 1:
        return
    own = np.zeros((1, scores.cloud.shape[1]), np.float32)
    for exit in Exit:  # the other edges' callers wait for what this one already answered
        told = int((there & (settled == exit.rank)).sum())
        name = np.array([exit.value.encode()], np.object_)
        link.send(told, {"edge": index}, scores=own, exit=name, present=present, answered=np.ones(1, np.bool_))
