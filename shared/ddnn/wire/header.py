"""The JSON header in front of the raw tensors, and the body that both make."""

from collections.abc import Iterable
from typing import Any, Final

import orjson

from ddnn.errors import BadInput
from ddnn.wire.datatypes import shown
from ddnn.wire.limits import Limits
from ddnn.wire.tensors import Entry

__all__ = ["HEADER_LENGTH", "Parameters", "cut_body", "join_body", "read_document", "read_id", "read_parameters"]

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
"""HTTP header: how many bytes of the body are JSON; without it the whole body is."""

Parameters = dict[str, bool | int | float | str]

_MAX_ID: Final = 256
_MAX_PARAMETERS: Final = 64
_MAX_TEXT: Final = 1024


def cut_body(
    body: bytes | memoryview, header_length: int | str | None, limits: Limits | None = None
) -> tuple[memoryview, memoryview]:
    """Return the text of the header and the raw bytes behind it; `header_length` is the HTTP header's value."""
    view = memoryview(body)
    end = len(view) if header_length is None else _length(header_length, len(view))
    if limits:
        limits.check_json(view[:end])
    return view[:end], view[end:]


def read_document(text: bytes | memoryview) -> dict[str, Any]:
    """Return the header as an object."""
    try:
        document = orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise BadInput(f"the JSON of the body's first {len(text)} bytes cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise BadInput(f"the body is {shown(document)}; expected a JSON object")
    return document


def join_body(
    document: dict[str, Any], parts: Iterable[tuple[Entry, bytes]], role: str
) -> tuple[bytes, dict[str, str]]:
    """Return the body of `document` with tensors under `role`, and the HTTP headers that go with it."""
    entries, raws = zip(*parts, strict=True) if (parts := list(parts)) else ((), ())
    header = orjson.dumps({**document, role: entries}, option=orjson.OPT_SERIALIZE_NUMPY)
    if not any("parameters" in entry for entry in entries):
        return header, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
    return b"".join((header, *raws)), headers


def read_parameters(document: dict[str, Any]) -> Parameters:
    """Return the flat `parameters` of a request or response."""
    parameters = document.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadInput(f"`parameters` is {shown(parameters)}; expected an object")
    if len(parameters) > _MAX_PARAMETERS:
        raise BadInput(f"`parameters` has {len(parameters)} entries; expected at most {_MAX_PARAMETERS}")
    for name, value in parameters.items():
        if not isinstance(value, bool | int | float | str):
            raise BadInput(f"parameter {shown(name)} is {shown(value)}; expected a string, a number or a boolean")
        length = len(name) + (len(value) if isinstance(value, str) else 0)
        if length > _MAX_TEXT:
            raise BadInput(f"parameter {shown(name)} has {length} characters; expected at most {_MAX_TEXT}")
    return parameters


def read_id(document: dict[str, Any]) -> str:
    """Return the `id`, empty when there is none."""
    id = document.get("id", "")
    if not isinstance(id, str):
        raise BadInput(f"`id` is {shown(id)}; expected a string")
    if len(id.encode()) > _MAX_ID:
        raise BadInput(f"`id` has {len(id.encode())} bytes; expected at most {_MAX_ID}")
    return id


def _length(value: int | str, total: int) -> int:
    if isinstance(value, str) and not (value.isascii() and value.isdigit() and len(value) < 20):
        raise BadInput(f"{HEADER_LENGTH} is {shown(value)}; expected a whole number")
    length = int(value)
    if not 0 <= length <= total:
        raise BadInput(f"{HEADER_LENGTH} is {length}; expected 0 to {total}, the length of the body")
    return length
