"""An inference response, both ways."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ddnn.errors import BadInput
from ddnn.types import Array
from ddnn.wire.datatypes import shown
from ddnn.wire.header import Parameters, join_body, read_id, read_parameters, split_body
from ddnn.wire.request import InferRequest
from ddnn.wire.tensors import read_tensors, write_tensor

__all__ = ["InferResponse", "decode_response", "encode_response"]


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
    document, raw = split_body(body, header_length)
    version = document.get("model_version", "")
    if not isinstance(version, str):
        raise BadInput(f"`model_version` is {shown(version)}; expected a string")
    return InferResponse(
        id=read_id(document),
        model_version=version,
        parameters=read_parameters(document),
        outputs=read_tensors(document.get("outputs"), raw, "output"),
    )
