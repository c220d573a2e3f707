"""Answers as output tensors, and back: the one place that knows how a row of an answer looks on the wire."""

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from ddnn.errors import BadInput
from ddnn.task import CLASSIFICATION
from ddnn.types import Answer, Array, Bools, Exit
from ddnn.wire import DATATYPES, HEADER_LENGTH, InferRequest, datatype_of, encode_response

__all__ = ["OUTPUTS", "answers_to_outputs", "encode_answers", "outputs_to_answers"]

OUTPUTS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    **CLASSIFICATION.outputs,
    "exit": ("BYTES", ("B",)),
    "confidence": ("FP32", ("B",)),
    "degraded": ("BOOL", ("B",)),
    "degraded_reason": ("BYTES", ("B",)),
    "devices": ("BOOL", ("B", "D")),
    "policy_version": ("INT64", ("B",)),
    "bytes_up": ("INT64", ("B",)),
    "need_features": ("BOOL", ("B",)),
    "late": ("BOOL", ("B", "D")),
}
"""Output tensors, datatype and shape each: `need_features` is the edge's alone, `class_name` the devices'.

`late` is there where a device was, or where it is asked for by name.
"""

_NOT_ALL: Final = ("need_features", "class_name", "late")
_EXITS: Final = {exit.value.encode(): exit for exit in Exit}


def answers_to_outputs(
    answers: Sequence[Answer], *, need_features: bool = True, names: Sequence[str] = (), late: bool = False
) -> dict[str, Array]:
    """Return the output tensors of at least one answer, `class_name` where there are `names` of the classes.

    `need_features` False leaves that tensor out; `late` is there where a device was, or if it is true.
    """
    outputs: dict[str, Array] = {}
    for name, (datatype, _) in OUTPUTS.items():
        column: list[Any] = [getattr(answer, name) for answer in answers]
        if name == "class_name":
            column = _named(answers, names) if names else []
        if name == "late":
            column = _late(answers) if late or any(column) else []
        if datatype == "BYTES":
            column = [text.encode() for text in column]
        if column and (name != "need_features" or need_features):
            outputs[name] = np.array(column, DATATYPES[datatype])
    return outputs


def _named(answers: Sequence[Answer], names: Sequence[str]) -> list[str]:
    return [names[answer.label] if answer.label >= 0 else "" for answer in answers]


def _late(answers: Sequence[Answer]) -> list[Bools]:
    """Flags [D] each."""
    flags = [np.zeros(answer.devices.size, np.bool_) for answer in answers]
    for row, answer in zip(flags, answers, strict=True):
        row[list(answer.late)] = True
    return flags


def encode_answers(
    answers: Sequence[Answer], request: InferRequest, *, need_features: bool = True, names: Sequence[str] = ()
) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Return the body of the answer to `request` and its HTTP headers as ASGI has them; at least one answer."""
    if request.id or request.outputs is not None or not request.binary_default:
        late = "late" in (request.outputs or ())
        outputs = answers_to_outputs(answers, need_features=need_features, names=names, late=late)
        body, headers = encode_response(outputs, request)
        return body, [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    first, rows = answers[0], len(answers)
    classes = b"".join([_text(name) for name in _named(answers, names)]) if names else b""
    exits = b"".join([_TEXTS[answer.exit] for answer in answers])
    reasons = b"".join([_text(answer.degraded_reason) for answer in answers])
    away = b"".join([flags.tobytes() for flags in _late(answers)]) if any(answer.late for answer in answers) else b""
    raw = (
        struct.pack(f"<{rows}q", *[answer.label for answer in answers]),
        classes,
        *[answer.probabilities.tobytes() for answer in answers],
        exits,
        struct.pack(f"<{rows}f", *[answer.confidence for answer in answers]),
        bytes([answer.degraded for answer in answers]),
        reasons,
        *[answer.devices.tobytes() for answer in answers],
        struct.pack(f"<{rows}q", *[answer.policy_version for answer in answers]),
        struct.pack(f"<{rows}q", *[answer.bytes_up for answer in answers]),
        bytes([answer.need_features for answer in answers]) if need_features else b"",
        away,
    )
    texts = len(exits), len(reasons), len(classes), len(away)
    sizes = (rows, first.probabilities.size, first.devices.size, need_features, *texts)
    header = _headers.get(sizes)
    if header is None:
        # The JSON of answers alike in size is the same text: made once, by what makes all others.
        outputs = answers_to_outputs(answers, need_features=need_features, names=names)
        body, named = encode_response(outputs, request)
        length = int(named[HEADER_LENGTH])
        header = body[:length], [(name.lower().encode(), value.encode()) for name, value in named.items()]
        if len(_headers) < _MOST_HEADERS:
            _headers[sizes] = header
    return b"".join((header[0], *raw)), header[1]


@lru_cache(256)
def _text(text: str) -> bytes:
    """An element of a BYTES tensor."""
    content = text.encode()
    return struct.pack("<I", len(content)) + content


_TEXTS: Final = {exit: _text(exit.value) for exit in Exit}
_MOST_HEADERS: Final = 1000
_headers: dict[tuple[int, ...], tuple[bytes, list[tuple[bytes, bytes]]]] = {}


def outputs_to_answers(
    outputs: Mapping[str, Array], *, rows: int | None = None, classes: int | None = None, devices: int | None = None
) -> list[Answer]:
    """Return the answers in a response's outputs, others left alone; raise `BadInput` if they make no sense.

    `rows`, `classes` and `devices` are what the reader expects of B, K and D; None = whatever they are, alike in all.
    """
    sizes = {"B": rows, "K": classes, "D": devices}
    columns = {name: _column(outputs, name, sizes) for name in OUTPUTS if name not in _NOT_ALL or name in outputs}
    labels, probabilities = columns["label"], columns["probabilities"]
    if labels.size and not (labels.min() >= -1 and labels.max() < probabilities.shape[1]):
        raise BadInput(f"output 'label' leaves the range -1 to {probabilities.shape[1] - 1}")
    for name in ("probabilities", "confidence"):
        # NaN fails both comparisons.
        if not np.all((columns[name] >= -1e-3) & (columns[name] <= 1 + 1e-3)):
            raise BadInput(f"output {name!r} leaves the range 0 to 1")
    for name in ("policy_version", "bytes_up"):
        if (columns[name] < 0).any():
            raise BadInput(f"output {name!r} is negative")
    exits = columns["exit"].tolist()
    if unknown := set(exits) - _EXITS.keys():
        raise BadInput(f"output 'exit' holds {unknown.pop()[:20]!r}; expected one of {', '.join(Exit)}")
    given: dict[str, Any] = {name: col.tolist() if col.ndim == 1 else col for name, col in columns.items()}
    if "late" in given:
        given["late"] = [tuple(np.flatnonzero(row).tolist()) for row in columns["late"]]
    given["exit"] = [_EXITS[exit] for exit in exits]
    for name in {"degraded_reason", "class_name"} & given.keys():
        given[name] = [text.decode(errors="replace") for text in given[name]]
    return [Answer(**dict(zip(given, row, strict=True))) for row in zip(*given.values(), strict=True)]


def _column(outputs: Mapping[str, Array], name: str, sizes: dict[str, int | None]) -> Array:
    """An output of the datatype and the shape it must have; sizes that are not known yet are, from here on."""
    array = outputs.get(name)
    if array is None:
        raise BadInput(f"output {name!r} is missing; found {', '.join(outputs) or 'none'}")
    datatype, letters = OUTPUTS[name]
    known, fits = dict(sizes), len(letters) == array.ndim and array.dtype == DATATYPES[datatype]
    for letter, size in zip(letters, array.shape, strict=False):
        if sizes[letter] is None:
            sizes[letter] = size
        fits = fits and sizes[letter] == size
    if not fits:
        expected = ", ".join(str(letter if known[letter] is None else known[letter]) for letter in letters)
        raise BadInput(f"output {name!r} is {datatype_of(array)} {list(array.shape)}; expected {datatype} [{expected}]")
    return array
