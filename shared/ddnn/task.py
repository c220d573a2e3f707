"""The task: what scores mean. Classification is the first, and so far the only one.

Everything between a section's scores and an answer asks the task: labels, probabilities, what is right, how uncertain
an exit is, which tensors an answer has, which of several answers counts. Its loss is in `ddnn.training.loss`.
Shapes: scores and probabilities are (…, K), labels (…); −1 is no label.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np

from ddnn import criteria
from ddnn.errors import BadInput
from ddnn.types import Answer, Bools, Floats, Ints

__all__ = ["CLASSIFICATION", "TASKS", "Task"]

Outputs = dict[str, tuple[str, tuple[str, ...]]]
"""Datatype and shape of each tensor, by name."""


class Task:
    """What a network is for: one class of K; another task overrides what differs."""

    name: ClassVar[str] = "classification"
    outputs: ClassVar[Outputs] = {"label": ("INT64", ("B",)), "probabilities": ("FP32", ("B", "K"))}
    """The answer's tensors that are the task's, B rows."""

    def labels(self, scores: Floats) -> Ints:
        """What scores, or probabilities, say: the class with the highest."""
        return np.asarray(scores.argmax(axis=-1))

    def right(self, labels: Ints, y: Ints) -> Bools:
        """Whether labels are the true ones; without a label nothing is right."""
        return np.asarray((labels == y) & (y >= 0))

    def probabilities(self, scores: Floats, temperature: float | Floats = 1.0) -> Floats:
        """Softmax at a temperature."""
        return criteria.probabilities(scores, temperature)

    def uncertainty(self, criterion: str, p: Floats, votes: criteria.Votes = None) -> Floats:
        """How uncertain an exit is, in [0, 1], by a criterion; `votes` are the scores under it, for some criteria."""
        return criteria.uncertainty(criterion, p, votes)

    def join(self, answers: Sequence[Answer | None]) -> int:
        """Index of the answer that counts, out of those to one event; raise `BadInput` if there is none.

        Not degraded before degraded, then the latest exit, most devices, the highest confidence (the lowest criterion),
        the lowest index. Rows without a label are no answers.
        """
        given = [(index, answer) for index, answer in enumerate(answers) if answer is not None and answer.label >= 0]
        if not given:
            raise BadInput("there is no answer to join; expected at least one with a label")
        return min(given, key=lambda pair: (_order(pair[1]), pair[0]))[0]


CLASSIFICATION: Final = Task()
TASKS: Final = {CLASSIFICATION.name: CLASSIFICATION}
"""By the name that a bundle has."""


def _order(answer: Answer) -> tuple[bool, int, int, float]:
    return answer.degraded, -answer.exit.rank, -int(answer.devices.sum()), -answer.confidence
