"""An inference request, its response and the one error body, both ways."""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from ddnn import errors
from ddnn.errors import BadInput, DDNNError
from ddnn.types import Array
from ddnn.wire.tensors import (
    DATATYPES,
    HARMLESS,
    MAX_TENSORS,
    Announced,
    Entry,
    Limits,
    announced_tensors,
    check_finite,
    datatype_of,
    finite,
    read_tensors,
    shown,
    whole,
    write_tensor,
)

__all__ = ["HEADER_LENGTH", "InferRequest", "InferResponse", "Parameters", "decode_error"]
__all__ += ["decode_request", "decode_response", "encode_error", "encode_request", "encode_response", "padded"]

HEADER_LENGTH: Final = "Inference-Header-Content-Length"  #: bytes of JSON; without it all are

Parameters = dict[str, bool | int | float | str]

_MAX_ID: Final = 256
_DIGITS: Final = 8
_MAX_PARAMETERS: Final = 64
_MAX_TEXT: Final = 1024
_WHOLE: Final = re.compile("[0-9]{1,19}").fullmatch


def _cut_body(
    body: bytes | memoryview, header_length: int | str | None, limits: Limits | None = None
) -> tuple[memoryview, memoryview]:
    """Return the text of the header and the raw bytes behind it; `header_length` is the HTTP header's value."""
    view = memoryview(body)
    end = len(view)
    if header_length is not None:
        if isinstance(header_length, str) and not _WHOLE(header_length):
            raise BadInput(f"{HEADER_LENGTH} is {shown(header_length)}; expected a whole number")
        end = int(header_length)
        if not 0 <= end <= len(view):
            raise BadInput(f"{HEADER_LENGTH} is {end}; expected 0 to {len(view)}, the length of the body")
    if limits and end > min(HARMLESS, limits.json_bytes):
        limits.check_json(view[:end])
    return view[:end], view[end:]


def _read_document(text: bytes | memoryview) -> dict[str, Any]:
    if not text:
        raise BadInput("the body is empty; expected JSON, with the tensors in `inputs`")
    try:
        document = orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError) as error:
        hint = "; a form is not taken: send its file as the body" if bytes(text[:2]) == b"--" else ""
        if b"NaN" in bytes(text) or b"Infinity" in bytes(text):
            hint = "; NaN and Infinity are no JSON: a number that is missing is null"
        raise BadInput(f"the JSON of the body's first {len(text)} bytes cannot be read: {error}{hint}") from error
    if not isinstance(document, dict):
        raise BadInput(f"the body is {shown(document)}; expected a JSON object")
    return document


def _join_body(
    document: dict[str, Any], parts: Iterable[tuple[Entry, bytes]], role: str
) -> tuple[bytes, dict[str, str]]:
    """Return the body of `document` with tensors under `role`, and the HTTP headers that go with it."""
    entries, raws = zip(*parts, strict=True) if (parts := list(parts)) else ((), ())
    header = orjson.dumps({**document, role: entries}, option=orjson.OPT_SERIALIZE_NUMPY)
    if not any("parameters" in entry for entry in entries):
        return header, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
    return b"".join((header, *raws)), headers


def padded(body: bytes, headers: Mapping[str, str], block: int) -> tuple[bytes, dict[str, str]]:
    """A body and its HTTP headers, its JSON followed by spaces so that all is a multiple of `block` bytes; 0: as it is.

    Spaces after JSON are JSON, so that every reader takes them; `HEADER_LENGTH` has a fixed number of digits.
    """
    if not block:
        return body, dict(headers)
    name = next((name for name in headers if name.lower() == HEADER_LENGTH.lower()), None)
    end, spaces = int(headers[name]) if name else len(body), -len(body) % block
    length = {name: f"{end + spaces:0{_DIGITS}}"} if name else {}
    return b"".join((body[:end], b" " * spaces, body[end:])), {**headers, **length}


def _read_parameters(document: dict[str, Any]) -> Parameters:
    parameters = document.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadInput(f"`parameters` is {shown(parameters)}; expected an object")
    if len(parameters) > _MAX_PARAMETERS:
        raise BadInput(f"`parameters` has {len(parameters)} entries; expected at most {_MAX_PARAMETERS}")
    given = {name: value for name, value in parameters.items() if value is not None}
    for name, value in given.items():
        if not isinstance(value, bool | int | float | str):
            raise BadInput(f"parameter {shown(name)} is {shown(value)}; expected a string, a number or a boolean")
        length = len(name) + (len(value) if isinstance(value, str) else 0)
        if length > _MAX_TEXT:
            raise BadInput(f"parameter {shown(name)} has {length} characters; expected at most {_MAX_TEXT}")
    return given


def _read_id(document: dict[str, Any]) -> str:
    id = document.get("id")
    if id is None:
        return ""
    if not isinstance(id, str):
        raise BadInput(f"`id` is {shown(id)}; expected a string")
    if len(id.encode()) > _MAX_ID:
        raise BadInput(f"`id` has {len(id.encode())} bytes; expected at most {_MAX_ID}")
    return id


_SHORT: Final = 2048  #: bytes of a header that is worth remembering: messages of one sender have the same


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a caller sent."""

    id: str  #: comes back in the response; empty when there is none
    parameters: Parameters  #: flat; without `binary_data_output`, which is read into `binary_default`
    inputs: dict[str, Array]  #: by name; BYTES tensors are object arrays of `bytes`. May be read-only.
    outputs: dict[str, bool] | None  #: outputs asked for, each with whether it is wanted as binary; None = all
    binary_default: bool  #: whether outputs are binary where nothing else is said

    def take(self, name: str, datatype: str, shape: tuple[int | None, ...], *, missing: bool = False) -> Array:
        """Return the input `name` if it is of `datatype` and `shape`, finite too; None = any size but 0.

        One value a row may come as a column, (B, 1) for (B,).
        `missing`: NaN and infinity are taken, as numbers that are missing.
        """
        array = self.inputs.get(name)
        fits = array is not None and array.shape == shape and array.dtype == DATATYPES[datatype]
        if array is None or not fits or not (missing or finite(array)):
            return self._fitting(name, datatype, shape, missing)
        return array

    def _fitting(self, name: str, datatype: str, shape: tuple[int | None, ...], missing: bool) -> Array:
        array = self.inputs.get(name)
        if array is None:
            raise BadInput(f"input tensor {shown(name)} is missing; found {_names(self.inputs)}")
        if len(shape) == 1 and array.shape[1:] == (1,):
            array = array[:, 0]
        fits = len(array.shape) == len(shape) and all(
            have == want if want is not None else have > 0 for have, want in zip(array.shape, shape, strict=True)
        )
        found = datatype_of(array)
        if found != datatype or not fits:
            sizes = ["at least 1" if size is None else str(size) for size in shape]
            hint = ""
            if len(array.shape) != len(shape):  # then its first size need not be how many events are meant
                sizes[0] = "events"
                one = array.shape == shape[1:]
                hint = f": [{', '.join(['1', *sizes[1:]])}] for this one" if one else ""
            want = f"{datatype} [{', '.join(sizes)}]{hint}"
            raise BadInput(f"input tensor {shown(name)} is {found} {list(array.shape)}; expected {want}")
        if not missing:
            check_finite(array, f"input tensor {shown(name)}")
        return array

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Raise `BadInput` for an input that is not in `known`."""
        for name in self.inputs:
            if name not in known:
                raise BadInput(f"input tensor {shown(name)} is unknown here; expected {_names(known)}")

    def refuse_unknown_outputs(self, known: Collection[str]) -> None:
        """Raise `BadInput` for an output asked for that is not in `known`."""
        for name in self.outputs or ():
            if name not in known:
                raise BadInput(f"output {shown(name)} is unknown here; expected some of {', '.join(known)}")

    def number(self, name: str, low: float = 0.0, high: float = math.inf) -> float | None:
        """Return the parameter `name` as a number in [low, high], or None when it is not given."""
        value = self.parameters.get(name)
        if value is not None and (isinstance(value, bool | str) or not low <= value <= high):
            raise self._unfit(name, f"a number from {low:g} to {high:g}")
        return None if value is None else float(value)

    def integer(self, name: str, low: int, high: int) -> int | None:
        """Return the parameter `name` as a whole number in [low, high], or None when it is not given."""
        value = whole(self.parameters.get(name))
        if value is None or (type(value) is int and low <= value <= high):
            return value
        raise self._unfit(name, f"a whole number from {low} to {high}")

    def flag(self, name: str) -> bool:
        """Return the parameter `name` as true or false; false when it is not given."""
        if isinstance(value := self.parameters.get(name, False), bool):
            return value
        raise self._unfit(name, "true or false")

    def text(self, name: str) -> str | None:
        """Return the parameter `name` as a string, or None when it is not given."""
        value = self.parameters.get(name)
        if value is None or isinstance(value, str):
            return value
        raise self._unfit(name, "a string")

    def _unfit(self, name: str, expected: str) -> BadInput:
        return BadInput(f"parameter {shown(name)} is {shown(self.parameters[name])}; expected {expected}")


class _RequestHead(NamedTuple):
    """All that a request's header says."""

    id: str
    parameters: Parameters
    inputs: list[Announced]
    outputs: dict[str, bool] | None
    binary_default: bool


def decode_request(
    body: bytes | memoryview, header_length: int | str | None = None, limits: Limits | None = None
) -> InferRequest:
    """Read a request; `header_length` is the value of the HTTP header, None = the body is all JSON.

    Raises `BadInput`, or `TooLarge` beyond `limits`, and nothing else, whatever the bytes are. Arrays may share memory
    with `body`.
    """
    text, raw = _cut_body(body, header_length, limits)
    read = _known_request(bytes(text)) if len(text) <= _SHORT else _request_head(text)
    id, parameters, announced, outputs, binary = read
    return InferRequest(id, parameters, read_tensors(announced, raw), outputs, binary)


def _request_head(text: bytes | memoryview) -> _RequestHead:
    document = _read_document(text)
    parameters = _read_parameters(document)
    binary = _flag(parameters, "binary_data_output", False, "`parameters`")
    return _RequestHead(
        id=_read_id(document),
        parameters={name: value for name, value in parameters.items() if name != "binary_data_output"},
        inputs=announced_tensors(document.get("inputs"), "input"),
        outputs=_requested(document.get("outputs"), binary),
        binary_default=binary,
    )


_known_request = lru_cache(256)(_request_head)


def encode_request(
    inputs: Mapping[str, Array],
    *,
    id: str = "",
    parameters: Mapping[str, bool | int | float | str] | None = None,
    binary: bool = True,
    binary_output: bool = True,
) -> tuple[bytes, dict[str, str]]:
    """Return the body of a request for all outputs and its HTTP headers; `binary`: raw bytes instead of JSON."""
    document: dict[str, Any] = {"id": id} if id else {}
    if parameters or binary_output:
        document["parameters"] = {**(parameters or {}), **({"binary_data_output": True} if binary_output else {})}
    return _join_body(document, (write_tensor(name, array, binary) for name, array in inputs.items()), "inputs")


def _requested(entries: object, default: bool) -> dict[str, bool] | None:
    if entries is None or entries == []:
        return None
    if not isinstance(entries, list):
        raise BadInput(f"`outputs` is {shown(entries)}; expected a list of outputs")
    if len(entries) > MAX_TENSORS:
        raise BadInput(f"`outputs` has {len(entries)} entries; expected at most {MAX_TENSORS}")
    outputs: dict[str, bool] = {}
    for place, entry in enumerate(entries):
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise BadInput(f"`outputs` entry {place} is {shown(entry)}; expected an object with a name")
        if name in outputs:
            raise BadInput(f"output {shown(name)} is asked for twice; expected once")
        outputs[name] = _flag(_read_parameters(entry), "binary_data", default, f"output {shown(name)}")
    return outputs


def _flag(parameters: Parameters, name: str, default: bool, where: str) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadInput(f"{where} has {name} {shown(value)}; expected true or false")
    return value


def _names(names: Collection[str]) -> str:
    return ", ".join(shown(name) for name in list(names)[:12]) or "none"


@dataclass(frozen=True, slots=True)
class InferResponse:
    """What a tier answered."""

    id: str  #: the request's, empty when it had none
    model_version: str
    parameters: Parameters
    outputs: dict[str, Array]  #: by name; BYTES tensors are object arrays of `bytes`. May be read-only.


def encode_response(
    outputs: Mapping[str, Array], request: InferRequest, *, model: str = "ddnn", version: str = "1"
) -> tuple[bytes, dict[str, str]]:
    """Return the body of the answer to `request` with the outputs it asked for, and the HTTP headers of the answer."""
    wanted = request.outputs
    if wanted is None:
        wanted = dict.fromkeys(outputs, request.binary_default)
    request.refuse_unknown_outputs(outputs)
    document: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id:
        document["id"] = request.id
    return _join_body(document, (write_tensor(name, outputs[name], flag) for name, flag in wanted.items()), "outputs")


def decode_response(body: bytes | memoryview, header_length: int | str | None = None) -> InferResponse:
    """Read a response; raises `BadInput`, and nothing else, whatever the bytes are."""
    text, raw = _cut_body(body, header_length)
    read = _known_response(bytes(text)) if len(text) <= _SHORT else _response_head(text)
    id, version, parameters, announced = read
    return InferResponse(id, version, parameters, read_tensors(announced, raw))


def _response_head(text: bytes | memoryview) -> tuple[str, str, Parameters, list[Announced]]:
    document = _read_document(text)
    version = document.get("model_version") or ""
    if not isinstance(version, str):
        raise BadInput(f"`model_version` is {shown(version)}; expected a string")
    outputs = announced_tensors(document.get("outputs"), "output")
    return _read_id(document), version, _read_parameters(document), outputs


_known_response = lru_cache(256)(_response_head)


# Where classes share a status, the general one comes first.
_ERRORS: Final[list[type[DDNNError]]] = [
    *(errors.BadInput, errors.OtherBundle, errors.Unavailable),
    *(getattr(errors, name) for name in errors.__all__),
]
_BY_CODE: Final = {kind.code: kind for kind in _ERRORS}
_BY_STATUS: Final[dict[int, type[DDNNError]]] = {kind.status: kind for kind in reversed(_ERRORS)} | {500: DDNNError}


def encode_error(error: DDNNError, *, request_id: str, tier: str) -> bytes:
    """Return the error body: a sentence, a stable code, and whether to try again."""
    return orjson.dumps(
        {"error": str(error), "code": error.code, "request_id": request_id, "tier": tier, "retryable": error.retryable}
    )


def is_error(body: bytes) -> bool:
    """Whether it is an error body as a tier writes it, and not what somebody between says; never raises."""
    try:
        document = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError):
        return False
    return isinstance(document, dict) and isinstance(document.get("code"), str) and "error" in document


def decode_error(status: int, body: bytes) -> DDNNError:
    """Return the error that an answer other than 200 stands for; never raises, whoever wrote the body."""
    try:
        document = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError):
        document = None
    document = document if isinstance(document, dict) else {}
    code, sentence = document.get("code"), document.get("error")
    kind = (_BY_CODE.get(code) if isinstance(code, str) else None) or _BY_STATUS.get(status, DDNNError)
    if isinstance(sentence, str) and sentence:
        return kind(sentence[:1000])
    return kind(f"HTTP {status} without an error body ({shown(bytes(body[:60]))})")
