"""An inference response, both ways."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from ddnn.errors import BadInput
from ddnn.types import Array
from ddnn.wire.datatypes import shown
from ddnn.wire.header import Parameters, cut_body, join_body, read_document, read_id, read_parameters
from ddnn.wire.request import InferRequest
from ddnn.wire.tensors import Announced, announced_tensors, read_tensors, write_tensor

__all__ = ["InferResponse", "decode_response", "encode_response"]

_SHORT: Final = 2048
"""Bytes of a header that is worth remembering."""


@dataclass(frozen=True, slots=True)
class InferResponse:
    """What a tier answered."""

    id: str
    """The request's, empty when it had none."""
    model_version: str
    parameters: Parameters
    outputs: dict[str, Array]
    """By name; BYTES tensors are object arrays of `bytes`. May be read-only."""


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
    return join_body(document, (write_tensor(name, outputs[name], flag) for name, flag in wanted.items()), "outputs")


def decode_response(body: bytes | memoryview, header_length: int | str | None = None) -> InferResponse:
    """Read a response; raises `BadInput`, and nothing else, whatever the bytes are."""
    text, raw = cut_body(body, header_length)
    id, version, parameters, announced = _known(bytes(text)) if len(text) <= _SHORT else _head(text)
    return InferResponse(id, version, parameters, read_tensors(announced, raw))


def _head(text: bytes | memoryview) -> tuple[str, str, Parameters, list[Announced]]:
    """All that a response's header says."""
    document = read_document(text)
    version = document.get("model_version", "")
    if not isinstance(version, str):
        raise BadInput(f"`model_version` is {shown(version)}; expected a string")
    outputs = announced_tensors(document.get("outputs"), "output")
    return read_id(document), version, read_parameters(document), outputs


# Answers alike in size have the same header, byte for byte: it is read once. What comes of it is never written to.
_known = lru_cache(256)(_head)
