"""What an exit says of an event, how uncertain it is, and whether it answers: the one rule, served and offline.

Criteria measure uncertainty in [0, 1]; an exit answers iff its criterion is below its threshold. Shapes: scores and
probabilities are (…, K) over K classes, criteria (…).
"""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ddnn.errors import BadInput
from ddnn.policy import Policy
from ddnn.types import Bools, Exit, Floats, Ints

__all__ = [
    "CRITERIA",
    "NOBODY",
    "Judged",
    "agreement",
    "answers",
    "entropy",
    "judge",
    "judge_under",
    "margin",
    "max_probability",
    "probabilities",
    "thresholds_under",
    "uncertainty",
]

NOBODY: Final = -1
"""In place of an exit's rank or a label: there is no answer."""

_SMALLEST: Final = np.float32(np.finfo(np.float32).smallest_subnormal)


def probabilities(scores: Floats, temperature: float | Floats = 1.0) -> Floats:
    """Softmax over the last axis of `scores / temperature`; uniform, so unsure, where a score is not finite.

    `temperature` is one for all, or (…) of each.
    """
    # Ufuncs and their reductions only: of a few events the methods around them take most of the time.
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = scores / np.asarray(temperature, np.float32)[..., np.newaxis]
        if not np.logical_and.reduce(np.isfinite(scaled), axis=None):
            scaled = np.where(np.isfinite(scaled).all(axis=-1, keepdims=True), scaled, np.float32(0))
        scaled -= np.maximum.reduce(scaled, axis=-1, keepdims=True)
    exps = np.exp(scaled)
    return np.asarray(exps / np.add.reduce(exps, axis=-1, keepdims=True), dtype=np.float32)


def entropy(p: Floats) -> Floats:
    """Normalised entropy η(p) = −Σ pᵢ ln pᵢ / ln K (DDNN paper, section III-D), with 0 ln 0 = 0."""
    logs = np.log(np.maximum(p, _SMALLEST))  # finite where p is 0, and the same where it is not
    mean = np.add.reduce(p * logs, axis=-1) / np.float32(-math.log(p.shape[-1]))
    return np.asarray(np.minimum(np.maximum(mean, 0.0), 1.0))


def max_probability(p: Floats) -> Floats:
    """1 − the largest probability."""
    return np.asarray(1 - p.max(axis=-1))


def margin(p: Floats) -> Floats:
    """1 − (largest − second largest probability)."""
    top = np.partition(p, -2, axis=-1)
    return np.asarray(1 - (top[..., -1] - top[..., -2]))


def agreement(p: Floats, device_scores: Floats, present: Bools) -> Floats:
    """1 − the share of present devices whose own label is the fused one; scores (…, D, K), mask (…, D).

    Unsure, 1, where nobody is present.
    """
    same = (device_scores.argmax(axis=-1) == p.argmax(axis=-1)[..., np.newaxis]) & present
    return np.asarray(1 - same.sum(axis=-1) / np.maximum(present.sum(axis=-1), 1), dtype=np.float32)


_BY_PROBABILITIES: Final[dict[str, Callable[[Floats], Floats]]] = {
    "entropy": entropy,
    "max_probability": max_probability,
    "margin": margin,
}
CRITERIA: Final = (*_BY_PROBABILITIES, "agreement")


def uncertainty(criterion: str, p: Floats, votes: tuple[Floats, Bools] | None = None) -> Floats:
    """Apply a criterion by name to an exit's probabilities (…, K).

    Agreement needs `votes`, the scores (…, D, K) of the devices under the exit and who is present (…, D); where nobody
    holds them, at a device and in the cloud, entropy stands in.
    """
    if criterion not in CRITERIA:
        raise BadInput(f"criterion is {criterion!r}; expected one of {', '.join(CRITERIA)}")
    if criterion == "agreement":
        return entropy(p) if votes is None else agreement(p, *votes)
    return _BY_PROBABILITIES[criterion](p)


class Judged(NamedTuple):
    """What one exit says of events, whatever its threshold."""

    probabilities: Floats
    """(…, K), at the exit's temperature."""
    uncertainty: Floats
    """(…), the criterion; infinite where no device took part."""
    labels: Ints
    """(…)."""


def judge(
    scores: Floats,
    temperature: float | npt.ArrayLike,
    criterion: str,
    votes: tuple[Floats, Bools] | None = None,
) -> Judged:
    """What an exit says by its `scores` (…, K); `temperature` is one for all, or (…) of each; `votes` as above."""
    p = probabilities(scores, np.asarray(temperature, np.float32))
    return Judged(p, uncertainty(criterion, p, votes), p.argmax(axis=-1))


def answers(uncertainty: Floats, threshold: npt.ArrayLike) -> Bools:
    """(…) whether an exit answers: its criterion is below its threshold, in double precision; 0 never is."""
    return np.less(uncertainty, np.asarray(threshold, np.float64))


def judge_under(
    policy: Policy, exit: Exit, scores: Floats, live: Ints, votes: tuple[Floats, Bools] | None = None
) -> Judged:
    """What `exit` says under `policy` when `live` (…) devices take part in each answer; unsure where none does."""
    temperatures = _by_live(live, lambda count: policy.judging(exit, count).temperatures.of(exit))
    judged = judge(scores, temperatures, policy.criterion, votes)
    return judged._replace(uncertainty=np.where(live > 0, judged.uncertainty, np.float32(np.inf)))


def thresholds_under(policy: Policy, exit: Exit, live: Ints) -> npt.NDArray[np.float64]:
    """(…) thresholds of `exit` under `policy` when `live` (…) devices take part."""
    return _by_live(live, lambda count: policy.judging(exit, count).thresholds.of(exit))


def _by_live(live: Ints, value: Callable[[int], float]) -> npt.NDArray[np.float64]:
    return np.array([value(count) for count in range(int(live.max(initial=0)) + 1)], np.float64)[live]
