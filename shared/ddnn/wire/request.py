"""An inference request, both ways."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from ddnn.errors import BadInput
from ddnn.types import Array
from ddnn.wire.datatypes import DATATYPES, datatype_of, shown
from ddnn.wire.header import Parameters, cut_body, join_body, read_document, read_id, read_parameters
from ddnn.wire.limits import Limits
from ddnn.wire.tensors import MAX_TENSORS, Announced, announced_tensors, check_finite, read_tensors, write_tensor

__all__ = ["InferRequest", "decode_request", "encode_request"]

_SHORT: Final = 1024
"""Bytes of a header that is worth remembering."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a caller sent."""

    id: str
    """Comes back in the response; empty when there is none."""
    parameters: Parameters
    """Flat; without `binary_data_output`, which is read into `binary_default`."""
    inputs: dict[str, Array]
    """By name; BYTES tensors are object arrays of `bytes`. May be read-only."""
    outputs: dict[str, bool] | None
    """Outputs asked for, each with whether it is wanted as binary; None = all."""
    binary_default: bool
    """Whether outputs are binary where nothing else is said."""

    def take(self, name: str, datatype: str, shape: tuple[int | None, ...]) -> Array:
        """Return the input `name` if it is of `datatype` and `shape`, finite too; None = any size but 0."""
        array = self.inputs.get(name)
        if array is None:
            raise BadInput(f"input tensor {shown(name)} is missing; found {_names(self.inputs)}")
        if array.shape == shape and array.dtype == DATATYPES[datatype]:
            if array.dtype.kind == "f":
                check_finite(array, f"input tensor {shown(name)}")
            return array
        fits = len(array.shape) == len(shape) and all(
            have == want if want is not None else have > 0 for have, want in zip(array.shape, shape, strict=True)
        )
        found = datatype_of(array)
        if found != datatype or not fits:
            want = ", ".join("at least 1" if size is None else str(size) for size in shape)
            raise BadInput(f"input tensor {shown(name)} is {found} {list(array.shape)}; expected {datatype} [{want}]")
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
        if value is None:
            return None
        if isinstance(value, bool | str) or not low <= value <= high:
            raise BadInput(f"parameter {shown(name)} is {shown(value)}; expected a number from {low:g} to {high:g}")
        return float(value)

    def integer(self, name: str, low: int, high: int) -> int | None:
        """Return the parameter `name` as a whole number in [low, high], or None when it is not given."""
        value = self.parameters.get(name)
        if value is None:
            return None
        if type(value) is not int or not low <= value <= high:
            raise BadInput(f"parameter {shown(name)} is {shown(value)}; expected a whole number from {low} to {high}")
        return value

    def flag(self, name: str) -> bool:
        """Return the parameter `name` as true or false; false when it is not given."""
        value = self.parameters.get(name, False)
        if not isinstance(value, bool):
            raise BadInput(f"parameter {shown(name)} is {shown(value)}; expected true or false")
        return value

    def text(self, name: str) -> str | None:
        """Return the parameter `name` as a string, or None when it is not given."""
        value = self.parameters.get(name)
        if value is not None and not isinstance(value, str):
            raise BadInput(f"parameter {shown(name)} is {shown(value)}; expected a string")
        return value


class _Head(NamedTuple):
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
    text, raw = cut_body(body, header_length, limits)
    id, parameters, announced, outputs, binary = _known(bytes(text)) if len(text) <= _SHORT else _head(text)
    return InferRequest(id, parameters, read_tensors(announced, raw), outputs, binary)


def _head(text: bytes | memoryview) -> _Head:
    document = read_document(text)
    parameters = read_parameters(document)
    binary = _flag(parameters, "binary_data_output", False, "`parameters`")
    return _Head(
        id=read_id(document),
        parameters={name: value for name, value in parameters.items() if name != "binary_data_output"},
        inputs=announced_tensors(document.get("inputs"), "input"),
        outputs=_requested(document.get("outputs"), binary),
        binary_default=binary,
    )


# Requests of one sender have the same header, byte for byte: it is read once. What comes of it is never written to.
_known = lru_cache(256)(_head)


def encode_request(
    inputs: Mapping[str, Array],
    *,
    id: str = "",
    parameters: Mapping[str, bool | int | float | str] | None = None,
    binary: bool = True,
    binary_output: bool = True,
) -> tuple[bytes, dict[str, str]]:
    """Return the body of a request for all outputs, and the HTTP headers that go with it.

    `binary` sends the inputs as raw bytes, `binary_output` asks for the outputs like that.
    """
    document: dict[str, Any] = {"id": id} if id else {}
    if parameters or binary_output:
        document["parameters"] = {**(parameters or {}), **({"binary_data_output": True} if binary_output else {})}
    return join_body(document, (write_tensor(name, array, binary) for name, array in inputs.items()), "inputs")


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
        outputs[name] = _flag(read_parameters(entry), "binary_data", default, f"output {shown(name)}")
    return outputs


def _flag(parameters: Parameters, name: str, default: bool, where: str) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadInput(f"{where} has {name} {shown(value)}; expected true or false")
    return value


def _names(names: Collection[str]) -> str:
    return ", ".join(shown(name) for name in list(names)[:12]) or "none"
