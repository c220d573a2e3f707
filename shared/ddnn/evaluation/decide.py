"""Who answers: the served rules, applied to all events at once.

Legend: N events, D devices, E edges, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ddnn.evaluation.scores import Scores
from ddnn.exits import NOBODY, Judged, answers, judge_under, thresholds_under
from ddnn.policy import Policy
from ddnn.task import Votes, needs_votes
from ddnn.types import Array, Bools, Exit, Floats, Ints

__all__ = ["ALWAYS", "NOBODY", "Decisions", "decide", "exit_alone", "judge", "judge_all", "thresholds"]

ALWAYS: Final = 2.0  #: a threshold above every criterion


@dataclass(frozen=True, slots=True)
class Decisions:
    """The answers of a fleet under one policy."""

    label: Ints  #: (N,), `NOBODY` when no device took part
    exit: Ints  #: (N,), rank of the exit that answered
    probabilities: Floats  #: (N, K), at that exit's temperature
    uncertainty: Floats  #: (N,), that exit's criterion
    devices: Bools  #: (N, D), who took part in the answer
    sure: Bools  #: (N, D), devices that answered their caller themselves
    settled: Ints
    """(N, E), rank of the exit where each edge settled its event, `NOBODY` where it sent it up or saw nothing."""

    def accuracy(self, y: Ints) -> float:
        """Share of events whose label is `y` (N,); an event without an answer is wrong."""
        return float((self.label == y).mean())

    def share(self, exit: Exit) -> float:
        """Share of events answered at `exit`."""
        return float((self.exit == exit.rank).mean())


def decide(scores: Scores, policy: Policy, judged: Mapping[Exit, Judged] | None = None) -> Decisions:
    """Answer every event as the fleet would with nobody slow, full or gone; `judged` is `judge_all`'s, if it is known.

    A sure device answers its own caller. The other callers of its edge get the answer of the edge's surest device; if
    none is sure, that of the local exit if sure, else of the edge exit if sure; else that of the surest edge that has
    one, else the cloud's. Which of them is the event's answer is as `ddnn.client.join` has it.
    """
    judged = judged or judge_all(scores, policy)
    u = {exit: each.uncertainty.reshape(len(scores), -1) for exit, each in judged.items()}
    sure = np.zeros_like(scores.present)
    if Exit.DEVICE in u:
        sure = answers(u[Exit.DEVICE], thresholds(scores, policy, Exit.DEVICE))
    settled, source, criterion = _settle(scores, policy, u)
    rank, place = _callers(scores, sure, settled, source, criterion.argmin(axis=1))

    events, devices = np.arange(len(scores)), np.arange(scores.present.shape[1])
    under = scores.under
    held, best = _join(scores, u, rank, place, under)
    rank, place = rank[events, best], place[events, best]
    p, present = np.zeros_like(scores.cloud), scores.present.copy()
    for exit, each in judged.items():
        rows = rank == exit.rank
        p[rows] = each.probabilities[rows] if exit is Exit.CLOUD else each.probabilities[rows, place[rows]]
        if exit is Exit.DEVICE:
            present[rows] = devices == place[rows, None]
        elif exit is Exit.CLOUD:
            present[rows] = scores.asked[rows]
        else:
            present[rows] = under[rows, place[rows]]
    seen = scores.present.any(axis=1)
    return Decisions(
        label=np.where(seen, scores.task.labels(p), NOBODY),
        exit=np.where(seen, rank, NOBODY),
        probabilities=p,
        uncertainty=held[events, best].astype(np.float32),
        devices=present,
        sure=sure,
        settled=settled,
    )


def exit_alone(scores: Scores, policy: Policy, exit: Exit) -> Decisions:
    """The fleet's answers if `exit` answered every event; of several edges as `ddnn.client.join` has it."""
    below = {other.value: 0.0 for other in Exit if other is not Exit.CLOUD}
    if exit is not Exit.CLOUD:
        below[exit.value] = ALWAYS
    # A copy is not validated: no policy that a person writes may hold this threshold.
    return decide(scores, policy.at(policy.thresholds.model_copy(update=below)))


def judge_all(scores: Scores, policy: Policy) -> dict[Exit, Judged]:
    """What every exit of the network says of every event."""
    return {exit: judge(scores, policy, exit) for exit in scores.topology.exits}


def judge(scores: Scores, policy: Policy, exit: Exit) -> Judged:
    """What an exit says of every event; its criterion is infinite where nobody took part.

    (N, D, …) of the device exit, (N, E, …) of local and edge, (N, …) of the cloud.
    """
    return judge_under(policy, exit, scores.of(exit), scores.live(exit), _votes(scores, policy, exit), scores.task)


def thresholds(scores: Scores, policy: Policy, exit: Exit) -> Array:
    """The threshold of an exit for each event, in the places of `judge`'s criterion."""
    return thresholds_under(policy, exit, scores.live(exit))


def _settle(scores: Scores, policy: Policy, u: Mapping[Exit, Floats]) -> tuple[Ints, Ints, Floats]:
    """Where each edge settled its event, (N, E): the exit's rank, the place of its scores there, and its criterion."""
    events, edges = np.arange(len(scores)), scores.topology.edges
    settled = np.full((len(scores), len(edges)), NOBODY, np.int64)
    source, criterion = np.zeros_like(settled), np.full(settled.shape, np.inf, np.float32)
    for exit in [exit for exit in (Exit.DEVICE, Exit.LOCAL, Exit.EDGE) if exit in u]:
        limit = thresholds(scores, policy, exit)
        for index, edge in enumerate(edges):
            place = np.full(len(scores), index)
            if exit is Exit.DEVICE:
                place = np.asarray(edge.devices)[u[exit][:, edge.devices].argmin(axis=1)]
            value = u[exit][events, place]
            rows = answers(value, limit[events, place]) & (settled[:, index] == NOBODY)
            settled[rows, index], source[rows, index], criterion[rows, index] = exit.rank, place[rows], value[rows]
    return settled, source, criterion


def _callers(scores: Scores, sure: Bools, settled: Ints, source: Ints, surest: Ints) -> tuple[Ints, Ints]:
    """The answer that each device's caller holds, (N, D): the rank of its exit, and the place of its scores there.

    `surest` (N,) is the edge whose answer those get whose own edge has none.
    """
    events, places = np.arange(len(scores)), np.arange(scores.present.shape[1])
    edge_of = [scores.topology.edge_of(device) for device in places.tolist()]
    below = (settled != NOBODY).any(axis=1)
    rank = np.where(below, settled[events, surest], Exit.CLOUD.rank)[:, None]
    place = np.where(below, source[events, surest], 0)[:, None]
    mine = settled[:, edge_of]
    rank = np.where(sure, Exit.DEVICE.rank, np.where(mine != NOBODY, mine, rank))
    place = np.where(sure, places, np.where(mine != NOBODY, source[:, edge_of], place))
    return rank, place


def _join(scores: Scores, u: Mapping[Exit, Floats], rank: Ints, place: Ints, under: Bools) -> tuple[Array, Ints]:
    """The criterion of what each caller holds, (N, D), and the device whose caller's answer is the event's, (N,)."""
    held, count = np.full(rank.shape, np.inf), np.ones(rank.shape, np.int64)
    for exit, criterion in u.items():
        rows, devices = np.nonzero(rank == exit.rank)
        held[rows, devices] = criterion[rows, place[rows, devices]]
        if exit is not Exit.DEVICE:
            there = scores.present[:, None] if exit is Exit.CLOUD else under
            count[rows, devices] = there.sum(axis=2)[rows, place[rows, devices]]
    # Confidence as it is on the wire: what is equal there is decided by the devices' order.
    confidence = (1 - held).astype(np.float32)
    return held, np.lexsort((-confidence, -count, -rank, ~scores.present), axis=1)[:, 0]


def _votes(scores: Scores, policy: Policy, exit: Exit) -> Votes:
    """The scores (N, E, D, K) of the devices under each edge, and which there are, if the criterion needs them."""
    if not needs_votes(policy.criterion) or exit not in (Exit.LOCAL, Exit.EDGE):
        return None
    return scores.of(Exit.DEVICE)[:, np.newaxis], scores.under
