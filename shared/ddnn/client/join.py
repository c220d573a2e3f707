"""Whose answer counts when several devices answered the same event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from ddnn.errors import BadInput, DDNNError, Unavailable
from ddnn.task import CLASSIFICATION
from ddnn.types import Answer

__all__ = ["EventAnswer", "join", "joined"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventAnswer(Answer):
    """The one answer to an event: that of the device whose answer counts, and the answers of all.

    Its `bytes_up` are those of all devices and tiers together.
    """

    event: str
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
    shared = {part.name: getattr(best, part.name) for part in fields(Answer)}
    shared["bytes_up"] = sum(answer.bytes_up for answer in answers if answer is not None)
    return EventAnswer(**shared, event=event, answers=tuple(answers), errors=dict(errors))
