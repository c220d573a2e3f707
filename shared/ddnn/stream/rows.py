"""The answer on a stream: a row an event, of which a receiver that has the bundle knows all sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ddnn.errors import BadInput
from ddnn.stream.frames import Down, framed
from ddnn.stream.varints import Reader, varint
from ddnn.types import Answer, Bools, Exit, Floats

__all__ = ["WHOLE", "Answered", "answered", "read_answered"]

WHOLE: Final = 16_383  #: 1 as probabilities and confidences have it: at most two bytes each
_EXITS: Final = tuple(Exit)
_EXIT, _DEGRADED, _NEED, _LABEL, _REASON, _LATE = 3, 4, 8, 16, 32, 64
_TIMED: Final = 0x10  #: flag of the kind: it says how long sections have worked
_MOST_REASON: Final = 64


@dataclass(frozen=True, slots=True)
class Answered:
    """The rows of one request."""

    number: int
    answers: list[Answer]
    worked_s: float | None  #: what the tier's sections have worked for it, where it says so


_latest: tuple[Floats | None, bytes] = None, b""
"""Probabilities and how they were written last: the devices of an event are given the same, one after the other."""


def _written(values: Floats) -> bytes:
    global _latest
    known, written = _latest  # both at once: another thread's loop may write its own meanwhile
    if values is not known:
        written = b"".join([_scaled(value) for value in values.tolist()])  # numpy would cost several times as much
        _latest = values, written
    return written


def _scaled(value: float) -> bytes:
    return varint(round(min(1.0, max(0.0, value)) * WHOLE))


def answered(number: int, answers: Sequence[Answer], worked_s: float | None = None) -> bytes:
    """The frame of an answer."""
    kind, parts = int(Down.ANSWER), [varint(number)]
    if worked_s is not None:
        kind |= _TIMED
        parts.append(varint(int(min(worked_s, 1000.0) * 1e6)))
    parts += [_row(answer) for answer in answers]
    return framed(kind, b"".join(parts))


def _row(answer: Answer) -> bytes:
    flags = answer.exit.rank | (answer.degraded and _DEGRADED) | (answer.need_features and _NEED)
    parts = [b""]
    if answer.label >= 0:
        flags |= _LABEL
        parts += [varint(answer.label), _scaled(answer.confidence), _written(answer.probabilities)]
        parts += [_bits(answer.devices), varint(answer.policy_version), varint(answer.bytes_up)]
    if answer.degraded_reason:
        flags |= _REASON
        reason = answer.degraded_reason.encode()[:_MOST_REASON]
        parts += [varint(len(reason)), reason]
    if answer.late:
        flags |= _LATE
        late = np.zeros(answer.devices.size, np.bool_)
        late[list(answer.late)] = True
        parts.append(_bits(late))
    parts[0] = bytes((flags,))
    return b"".join(parts)


def _bits(flags: Bools) -> bytes:
    return np.packbits(flags, bitorder="little").tobytes()


def read_answered(kind: int, payload: bytes, rows: int, classes: int, devices: int) -> Answered:
    """The answer to a request of so many rows; raise `BadInput`. Probabilities and confidence are to 1/16,383."""
    reader = Reader(payload)
    number = reader.number()
    worked_s = reader.number() / 1e6 if kind & _TIMED else None
    answers = [_read_row(reader, classes, devices) for _ in range(rows)]
    reader.end()
    return Answered(number, answers, worked_s)


def _read_row(reader: Reader, classes: int, devices: int) -> Answer:
    flags = reader.byte()
    label, confidence, version, size = -1, 0.0, 0, 0
    probabilities, took_part = np.zeros(classes, np.float32), np.zeros(devices, np.bool_)
    if flags & _LABEL:
        label, confidence = reader.number(classes - 1), reader.number(WHOLE) / WHOLE
        probabilities = np.array(reader.numbers(classes, WHOLE), np.float32) / np.float32(WHOLE)
        took_part = _read_bits(reader, devices)
        version, size = reader.number(), reader.number()
    reason = ""
    if flags & _REASON:
        reason = reader.take(reader.number(_MOST_REASON)).decode("utf-8", "replace")
    late = tuple(np.flatnonzero(_read_bits(reader, devices)).tolist()) if flags & _LATE else ()
    if flags & 128:
        raise BadInput(f"an answer has the flags {flags}; expected 0 to 127")
    return Answer(
        label,
        probabilities,
        _EXITS[flags & _EXIT],
        confidence,
        took_part,
        version,
        size,
        bool(flags & _DEGRADED),
        reason,
        bool(flags & _NEED),
        late,
    )


def _read_bits(reader: Reader, count: int) -> Bools:
    packed = np.frombuffer(reader.take((count + 7) // 8), np.uint8)
    return np.unpackbits(packed, count=count, bitorder="little").view(np.bool_)
