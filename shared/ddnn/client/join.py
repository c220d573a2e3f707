"""Whose answer counts when several devices answered the same event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ddnn.errors import BadInput, DDNNError, Unavailable
from ddnn.task import CLASSIFICATION
from ddnn.types import Answer, Bools, Exit, Floats

__all__ = ["EventAnswer", "join", "joined"]


@dataclass(frozen=True, slots=True)
class EventAnswer:
    """The one answer to an event: that of the device whose answer counts, and the answers of all."""

    event: str
    label: int
    """Class index."""
    probabilities: Floats
    """[K]."""
    exit: Exit
    confidence: float
    devices: Bools
    """[D], who took part in this answer."""
    degraded: bool
    degraded_reason: str
    policy_version: int
    bytes_up: int
    """Tensor bytes sent upward for the event, all devices and tiers together."""
    answers: tuple[Answer | None, ...]
    """Each device's own answer; None where it had no view or failed."""
    errors: Mapping[int, DDNNError] = field(default_factory=dict)
    """Why, for each device that failed."""


def join(answers: Sequence[Answer | None]) -> int:
    """Return the index of the answer that counts; raise `BadInput` if there is none.

    Not degraded before degraded, then the latest exit, then most devices, then the lowest criterion (the highest
    confidence), then the lowest index. Rows without a label are no answers.
    """
    return CLASSIFICATION.join(answers)


def joined(event: str, answers: Sequence[Answer | None], errors: Mapping[int, DDNNError]) -> EventAnswer:
    """Return the answer of `event` out of its devices' answers; raise the first device's error if none answered."""
    try:
        best = answers[join(answers)]
    except BadInput:
        # A device whose network has no exit below the cloud may answer some of a request's events and not others.
        without = {n: Unavailable(given.degraded_reason) for n, given in enumerate(answers) if given is not None}
        failed = {**without, **errors}
        if not failed:
            raise
        device, error = min(failed.items())
        others = f", and {len(failed) - 1} more failed" if len(failed) > 1 else ""
        raise type(error)(f"no device answered event {event!r}: device {device}: {error}{others}") from error
    assert best is not None
    return EventAnswer(
        event=event,
        label=best.label,
        probabilities=best.probabilities,
        exit=best.exit,
        confidence=best.confidence,
        devices=best.devices,
        degraded=best.degraded,
        degraded_reason=best.degraded_reason,
        policy_version=best.policy_version,
        bytes_up=sum(answer.bytes_up for answer in answers if answer is not None),
        answers=tuple(answers),
        errors=dict(errors),
    )
