"""What a policy promises for the audits of a running fleet, and the exact binomial bounds behind every promise.

Legend: n events, of which k are losses; `risk` is the share of all events that would be. By hand, not by scipy: a
machine that only serves may tune on recorded scores.
"""

import math
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from ddnn.drift import FEWEST, others
from ddnn.evaluation import Decisions, Scores, decide
from ddnn.policy import Policy, Promise, PromisedRecall, Usual
from ddnn.types import Exit, Ints

__all__ = ["Doubles", "fewest_events", "p_value", "p_values", "promise", "upper_bound"]

Doubles = npt.NDArray[np.float64]


def promise(
    scores: Scores,
    policy: Policy,
    confidence: float = 0.95,
    decisions: Decisions | None = None,
    classes: Collection[int] = (),
) -> Promise:
    """What `policy` did on the events behind `scores`: its `decisions`, if they are known; no risk is promised.

    For each exit below the cloud that answers, an upper bound on the share of its answers that the cloud changes, and
    for each of `classes` bounds on its recall: one-sided, exact (Clopper and Pearson), each exit and class by itself,
    over the draw of the events.
    """
    decisions = decisions or decide(scores, policy)
    cloud = scores.labels(Exit.CLOUD)
    differs = decisions.label != cloud
    disagreement: dict[Exit, float] = {}
    usual: dict[Exit, Usual] = {}
    for exit in scores.topology.exits:
        mine = decisions.exit == exit.rank
        count = int(mine.sum())
        if count:
            confident = 1 - decisions.uncertainty[mine]
            bins = np.histogram(confident, bins=10, range=(0, 1))[0] / count
            usual[exit] = Usual(share=float(mine.mean()), confidence=tuple(bins.tolist()))
            if exit is not Exit.CLOUD:
                disagreement[exit] = round(upper_bound(int(differs[mine].sum()), count, confidence), 6)
    recall: dict[int, PromisedRecall] = {}
    for index in classes:
        own, missed = scores.y == index, 0.0
        # Audits of a device and of an edge are counted apart: what is promised holds for each.
        for tier in ((Exit.DEVICE,), (Exit.LOCAL, Exit.EDGE)):
            audited = (cloud == index) & np.isin(decisions.exit, [exit.rank for exit in tier])
            if audited.any():
                missed = max(missed, upper_bound(int(differs[audited].sum()), int(audited.sum()), confidence))
        least = 1 - upper_bound(int((decisions.label[own] != index).sum()), int(own.sum()), confidence)
        recall[index] = PromisedRecall(least=round(least, 6), events=int(own.sum()), missed=round(missed or 1.0, 6))
    return Promise(
        disagreement=disagreement,
        confidence=confidence,
        recall=recall,
        events=len(scores),
        usual=usual,
        dissent=_dissent(scores, confidence),
    )


def _dissent(scores: Scores, confidence: float) -> tuple[tuple[float, ...], ...]:
    """(D, K) how often each device contradicts the others of its edge at most, where these say class k."""
    if scores.device is None:
        return ()
    labels, bounds = scores.labels(Exit.DEVICE), np.ones((len(scores.topology.devices), scores.classes))
    for edge in scores.topology.edges:
        mine = list(edge.devices)
        here = scores.present[:, mine]
        them = others(scores.device[:, mine], here)
        here &= here.sum(axis=1, keepdims=True) >= FEWEST
        for place, k in np.ndindex(len(mine), scores.classes):
            said = labels[here[:, place] & (them[:, place] == k), mine[place]]
            bounds[mine[place], k] = upper_bound(int((said != k).sum()), len(said), confidence)
    return tuple(tuple(row) for row in bounds.round(4).tolist())


def p_values(n: int, risk: float) -> Doubles:
    """(n + 1,) of P(Bin(n, risk) ≤ k), for k = 0 … n; by logarithms, so that no binomial coefficient overflows."""
    k = np.arange(n + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    ways = factorials[n] - factorials - factorials[::-1]
    chance = np.exp(ways + k * math.log(risk) + (n - k) * math.log1p(-risk))
    return np.asarray(np.minimum(np.cumsum(chance), 1.0))


def p_value(losses: int | Ints, n: int, risk: float) -> Doubles:
    """P(Bin(n, risk) ≤ losses): how likely so few losses in n events are if the risk is `risk` or more.

    The exact p-value against "the risk is larger than `risk`", sharper than Hoeffding's for losses of 0 or 1
    (Bates, Angelopoulos, Lei, Malik and Jordan, 2021).
    """
    return np.asarray(p_values(n, risk)[losses])


def upper_bound(losses: int, n: int, confidence: float) -> float:
    """The largest risk that `losses` in `n` events do not rule out at `confidence` (Clopper and Pearson, 1934)."""
    if losses >= n:
        return 1.0
    low, high = losses / n, 1.0
    while high - low > 1e-9:  # the p-value falls with the risk
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(losses, n, middle) > 1 - confidence else (low, middle)
    return high


def fewest_events(risk: float, confidence: float, rate: float = 0.0) -> int | None:
    """The fewest events, a share `rate` of them losses, that show a risk of at most `risk`; None: no number does.

    Without losses: the smallest n with (1 − risk)ⁿ ≤ 1 − confidence.
    """
    if rate >= risk:
        return None
    n = math.ceil(math.log(1 - confidence) / math.log1p(-risk) - 1e-12)
    while rate and p_value(math.ceil(rate * n), n, risk) > 1 - confidence:
        if n > 10_000_000:
            return None
        n = math.ceil(n * 1.05)
    return n
