"""How long the callers of an event wait for its answer, from their views on, were nobody else there.

Counted: each section, each message on its links, both ways. Left out: queues, what HTTP and Python take, HTTP headers,
the waking of a process, and a collector's wait for who is late or gone: all of an event's views come at once.
Legend: N events, D devices, E edges.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ddnn.evaluation import NOBODY, Scores
from ddnn.topology import Input
from ddnn.traffic import Messages
from ddnn.tuning.links import Links
from ddnn.tuning.profile import Profile
from ddnn.types import Array, Bools, Exit, Ints, Tier

__all__ = ["seconds"]


def seconds(
    scores: Scores,
    sure: Bools,
    settled: Ints,
    offload: Literal["staged", "eager"],
    links: Links,
    profile: Profile,
) -> Array:
    """(N,) the mean over an event's callers, one a device that took part, of the time from view to answer.

    `sure` (N, D) and `settled` (N, E) as in `Decisions`. 0 where nobody took part.
    """
    messages, topology = Messages(scores.topology, scores.cloud.shape[1]), scores.topology
    near, far, there = links.device_edge, links.edge_cloud, scores.edge_present
    answer = messages.answer(Exit.CLOUD, by_edge=True).body  # of other exits a byte more or less
    at_edge, at_cloud = np.zeros(there.shape), np.zeros(there.shape)
    for index in range(len(topology.edges)):
        mine = settled[:, index]
        at_edge[:, index] = _settles(scores, messages, sure, mine, index, offload, links, profile)
        size = np.full(len(scores), messages.from_edge(index).body)
        for exit in (Exit.DEVICE, Exit.LOCAL, Exit.EDGE):
            size[mine == exit.rank] = messages.answered(index, exit).body
        at_cloud[:, index] = at_edge[:, index] + far.seconds(size) + far.round_trip_s / 2

    # A cloud that joins edges has all it needs when the last is there; it runs only if none of them was sure.
    joined = np.where(there, at_cloud, 0).max(axis=1)
    below = ((settled != NOBODY) & there).any(axis=1)
    joined += np.where(below, 0, profile.cloud.median_s)
    down = joined + far.seconds(messages.answer(Exit.CLOUD, by_edge=False).body) + far.round_trip_s / 2
    back = np.where(settled == NOBODY, down[:, None], at_edge) + near.seconds(answer) + near.round_trip_s / 2

    edge_of = np.array([topology.edge_of(device) for device in range(len(topology.devices))])
    held = np.where(sure, _device_seconds(profile, len(topology.devices)), back[:, edge_of])
    callers = scores.present.sum(axis=1)
    return np.asarray((held * scores.present).sum(axis=1) / np.maximum(callers, 1))


def _settles(
    scores: Scores,
    messages: Messages,
    sure: Bools,
    settled: Ints,
    index: int,
    offload: Literal["staged", "eager"],
    links: Links,
    profile: Profile,
) -> Array:
    """(N,) when an edge has its event's answer, or has what goes up to the cloud."""
    topology, near = scores.topology, links.device_edge
    devices = np.asarray(topology.edges[index].devices)
    there = scores.present[:, devices]
    own = _device_seconds(profile, len(topology.devices))[devices]

    def sizes(carried: Sequence[Input], *, answered: bool = False) -> Array:
        return np.array([messages.from_device(int(device), carried, answered=answered).body for device in devices])

    always, later = (topology.sent(Tier.DEVICE, when) for when in ("always", "asked"))
    first = sizes((*always, *later) if offload == "eager" else always)
    first = np.where(sure[:, devices], sizes(always, answered=True), first)
    arrived = _arrive(there, own, near.seconds(first), links)
    if Exit.LOCAL not in topology.exits:
        return arrived
    local = arrived + profile.local[index].median_s
    features = local
    if offload == "staged":
        asking = near.round_trip_s / 2 + near.seconds(messages.answer(Exit.LOCAL, by_edge=True).body)
        features = local + asking + _arrive(there, np.zeros(len(devices)), near.seconds(sizes(later)), links)
    edge = features + (profile.edge[index].median_s if profile.edge else 0.0)
    return np.where(settled == Exit.DEVICE.rank, arrived, np.where(settled == Exit.LOCAL.rank, local, edge))


def _arrive(there: Bools, ready: Array, passing: Array, links: Links) -> Array:
    """(N,) when the last device's message is at the edge; on a link that they share they queue behind each other."""
    way = links.device_edge.round_trip_s / 2
    if links.shared:
        last = np.where(there, ready, 0).max(axis=1) + np.where(there, passing, 0).sum(axis=1)
    else:
        last = np.where(there, ready + passing, 0).max(axis=1)
    return np.asarray(last + way)


def _device_seconds(profile: Profile, devices: int) -> Array:
    return np.array([timing.median_s for timing in profile.device] or [0.0] * devices)
