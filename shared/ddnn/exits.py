"""How sure an exit is, and whether it answers.

Criteria measure *un*sureness in [0, 1]; an exit answers iff its criterion is below its threshold. Shapes: scores and
probabilities are (…, K) over K classes, criteria (…).
"""

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from ddnn.errors import BadInput
from ddnn.types import Bools, Floats

__all__ = ["CRITERIA", "agreement", "entropy", "margin", "max_probability", "probabilities", "uncertainty"]

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
