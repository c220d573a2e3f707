"""Who answers: the served rules, applied to all events at once.

Legend: N events, D devices, E edges, K classes.
"""

from dataclasses import dataclass

import numpy as np

from ddnn.evaluation.scores import Scores
from ddnn.exits import probabilities, unsureness
from ddnn.policy import Policy
from ddnn.tier import Exit
from ddnn.types import Bools, Floats, Ints

__all__ = ["NOBODY", "Decisions", "decide", "judge"]

NOBODY = -1
"""In place of an exit or a label: there is no answer."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """The answers of a fleet under one policy."""

    label: Ints
    """(N,), `NOBODY` when no device took part."""
    exit: Ints
    """(N,), rank of the exit that answered."""
    probabilities: Floats
    """(N, K), at that exit's temperature."""
    unsureness: Floats
    """(N,), that exit's criterion."""
    devices: Bools
    """(N, D), who took part in the answer."""
    sure: Bools
    """(N, D), devices that answered their caller themselves."""
    settled: Ints
    """(N, E), rank of the exit where each edge settled its event, `NOBODY` where it sent features up or saw nothing."""

    def accuracy(self, y: Ints) -> float:
        """Share of events whose label is `y` (N,); an event without an answer is wrong."""
        return float((self.label == y).mean())

    def share(self, exit: Exit) -> float:
        """Share of events answered at `exit`."""
        return float((self.exit == exit.rank).mean())


def decide(scores: Scores, policy: Policy) -> Decisions:
    """Answer every event as the fleet would with nobody slow, full or gone.

    A sure device settles its edge's event (the surest, then the lowest index), else the local exit if sure, else the
    edge exit; of several edges the surest that settled it answers, and the cloud answers what nobody settled.
    """
    events, devices = np.arange(len(scores)), np.arange(scores.present.shape[1])
    p_device, u_device = judge(scores, policy, Exit.DEVICE)
    sure = _below(u_device, policy.thresholds.device)
    edge_shape = scores.local.shape[:2]
    settled = np.full(edge_shape, NOBODY, np.int64)
    u_edge, p_edge, took_part = np.full(edge_shape, np.inf, np.float32), np.zeros_like(scores.local), []

    def answer(edge: int, exit: Exit, rows: Bools, u: Floats, p: Floats) -> None:
        rows = rows & (settled[:, edge] == NOBODY)
        settled[rows, edge], u_edge[rows, edge], p_edge[rows, edge] = exit.rank, u[rows], p[rows]

    judged = {exit: judge(scores, policy, exit) for exit in scores.topology.exits if exit in (Exit.LOCAL, Exit.EDGE)}
    for edge, spec in enumerate(scores.topology.edges):
        surest = np.asarray(spec.devices)[u_device[:, spec.devices].argmin(axis=1)]
        answer(edge, Exit.DEVICE, sure[events, surest], u_device[events, surest], p_device[events, surest])
        for exit, (p, u) in judged.items():
            answer(edge, exit, _below(u[:, edge], policy.thresholds.of(exit)), u[:, edge], p[:, edge])
        alone = (settled[:, edge] == Exit.DEVICE.rank)[:, None] & (devices != surest[:, None])
        took_part.append(scores.present & np.isin(devices, spec.devices) & ~alone)

    p_cloud, u_cloud = judge(scores, policy, Exit.CLOUD)
    winner, below = u_edge.argmin(axis=1), (settled != NOBODY).any(axis=1)
    p = np.where(below[:, None], p_edge[events, winner], p_cloud)
    seen = scores.present.any(axis=1)
    rank = np.where(below, settled[events, winner], np.where(seen, Exit.CLOUD.rank, NOBODY))
    who = np.where(below[:, None], np.stack(took_part, axis=1)[events, winner], scores.present)
    label = np.where(seen, p.argmax(axis=1), NOBODY)
    return Decisions(label, rank, p, np.where(below, u_edge[events, winner], u_cloud), who, sure, settled)


def judge(scores: Scores, policy: Policy, exit: Exit) -> tuple[Floats, Floats]:
    """An exit's probabilities at its temperature, and its criterion, infinite where nobody took part.

    (N, D, K) and (N, D) for the device exit, (N, E, K) and (N, E) for local and edge, (N, K) and (N,) for the cloud.
    """
    values, there = {
        Exit.DEVICE: (scores.device, scores.present),
        Exit.LOCAL: (scores.local, scores.edge_present),
        Exit.EDGE: (scores.edge, scores.edge_present),
        Exit.CLOUD: (scores.cloud, scores.present.any(axis=1)),
    }[exit]
    if values is None:
        raise ValueError(f"this network has no {exit} exit")
    p = probabilities(values, policy.temperatures.of(exit))
    return p, np.where(there, unsureness(policy.criterion, p), np.float32(np.inf))


def _below(u: Floats, threshold: float) -> Bools:
    """Compared in double precision, as a tier compares them."""
    return np.less(u, np.float64(threshold))
