"""The task: what scores mean, and how uncertain an exit is. Classification is the first, and so far the only one.

A criterion of a user's own, `package.module:function`, takes probabilities (…, K), and the votes, or None, where its
attribute `needs_votes` is true, and gives uncertainty (…) in [0, 1]. Labels are (…); −1 is no label.
"""

import math
from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any, ClassVar, Final

import numpy as np

from ddnn.errors import BadConfig, BadInput
from ddnn.extensions import is_extension, refuse_unlisted, resolve
from ddnn.types import Answer, Bools, Floats, Ints

__all__ = ["CLASSIFICATION", "CRITERIA", "TASKS", "Task", "Votes", "agreement", "check_criterion"]
__all__ += ["entropy", "load_criterion", "margin", "max_probability", "needs_votes", "probabilities", "uncertainty"]

Votes = tuple[Floats, Bools] | None
"""The scores (…, D, K) of the devices under an exit and who is present (…, D); none where nobody holds them."""

_SMALLEST: Final = np.float32(np.finfo(np.float32).smallest_subnormal)


def probabilities(scores: Floats, temperature: float | Floats = 1.0) -> Floats:
    """Softmax of `scores / temperature`, one or (…) of each, on the last axis; uniform where scores are not finite."""
    # Ufuncs and their reductions only: of a few events the methods around them take most of the time.
    with np.errstate(over="ignore", invalid="ignore"):
        divisor = np.asarray(temperature, np.float32)[..., np.newaxis]
        scaled = scores / divisor
        if not np.logical_and.reduce(np.isfinite(scaled), axis=None):
            scaled = np.where(np.isfinite(scaled).all(axis=-1, keepdims=True), scaled, _from_largest(scores) / divisor)
        scaled -= np.maximum.reduce(scaled, axis=-1, keepdims=True)
    exps = np.exp(scaled)
    return np.asarray(exps / np.add.reduce(exps, axis=-1, keepdims=True), dtype=np.float32)


def _from_largest(scores: Floats) -> Floats:
    """Scores less the largest of each row, which no division can make infinite above; 0 in rows that are not finite."""
    finite = np.where(np.isfinite(scores).all(axis=-1, keepdims=True), scores, np.float32(0))
    return np.asarray(finite - finite.max(axis=-1, keepdims=True))


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
    """1 − share of the present (…, D) whose label, of scores (…, D, K), is the fused one; 1, unsure, where none is."""
    same = (device_scores.argmax(axis=-1) == p.argmax(axis=-1)[..., np.newaxis]) & present
    return np.asarray(1 - same.sum(axis=-1) / np.maximum(present.sum(axis=-1), 1), dtype=np.float32)


_BY_PROBABILITIES: Final = {"entropy": entropy, "max_probability": max_probability, "margin": margin}
CRITERIA: Final = (*_BY_PROBABILITIES, "agreement")  #: those that are built in


def check_criterion(name: str, *others: str) -> str:
    """Return `name` if it may be a criterion, importing nothing; raise `BadInput`, which names `others`, too."""
    if name not in CRITERIA and not is_extension(name):
        expected = ", ".join((*others, *CRITERIA))
        raise BadInput(f"criterion is {name!r}; expected one of {expected} or package.module:function")
    return name


def load_criterion(name: str, allowed: Collection[str]) -> None:
    """Import a user's own criterion if `allowed` lists its module; raise `BadConfig` if not, or where that fails."""
    if name not in CRITERIA:
        refuse_unlisted([name], allowed)
        _foreign(name)


def needs_votes(criterion: str) -> bool:
    """Whether a criterion looks at the scores of the devices under an exit."""
    return criterion == "agreement" if criterion in CRITERIA else getattr(_foreign(criterion), "needs_votes", False)


def uncertainty(criterion: str, p: Floats, votes: Votes = None) -> Floats:
    """Apply a criterion by name to probabilities (…, K); without votes entropy stands in for agreement."""
    if criterion in _BY_PROBABILITIES:
        return _BY_PROBABILITIES[criterion](p)
    if criterion == "agreement":
        return entropy(p) if votes is None else agreement(p, *votes)
    function = _foreign(check_criterion(criterion))
    values = np.asarray(function(p, votes) if needs_votes(criterion) else function(p), np.float32)
    if values.shape != p.shape[:-1]:
        raise BadConfig(f"criterion {criterion!r} gives the shape {values.shape}; expected {p.shape[:-1]}")
    return np.clip(np.where(np.isnan(values), np.float32(1), values), 0, 1)


@cache
def _foreign(name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = resolve(name, "criterion", CRITERIA)
    return function


Outputs = dict[str, tuple[str, tuple[str, ...]]]  #: datatype and shape of each tensor, by name


class Task:
    """What a network is for: one class of K; another task overrides what differs."""

    name: ClassVar[str] = "classification"
    outputs: ClassVar[Outputs] = {
        "label": ("INT64", ("B",)),
        "class_name": ("BYTES", ("B",)),
        "probabilities": ("FP32", ("B", "K")),
    }
    """The answer's tensors that are the task's, B rows."""

    def labels(self, scores: Floats) -> Ints:
        """What scores, or probabilities, say: the class with the highest."""
        return np.asarray(scores.argmax(axis=-1))

    def right(self, labels: Ints, y: Ints) -> Bools:
        """Whether labels are the true ones; without a label nothing is right."""
        return np.asarray((labels == y) & (y >= 0))

    probabilities = staticmethod(probabilities)
    uncertainty = staticmethod(uncertainty)

    def join(self, answers: Sequence[Answer | None]) -> int:
        """Index of the answer that counts, out of those to one event; raise `BadInput` if none has a label.

        Not degraded before degraded, then the latest exit, most devices, the highest confidence, the lowest index.
        """
        given = [(index, answer) for index, answer in enumerate(answers) if answer is not None and answer.label >= 0]
        if not given:
            raise BadInput("there is no answer to join; expected at least one with a label")
        return min(given, key=lambda pair: (_order(pair[1]), pair[0]))[0]


CLASSIFICATION: Final = Task()
TASKS: Final = {CLASSIFICATION.name: CLASSIFICATION}  #: by the name that a bundle has


def _order(answer: Answer) -> tuple[bool, int, int, float]:
    return answer.degraded, -answer.exit.rank, -int(answer.devices.sum()), -answer.confidence
