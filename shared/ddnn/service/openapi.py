"""What the OpenAPI page says of the protocol's one POST, and of errors."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import Path

from ddnn.wire import HEADER_LENGTH

__all__ = ["MODEL", "NOT_FOUND", "SECURITY", "UNAVAILABLE", "VERSION", "ModelName", "infer"]

MODEL: Final = "ddnn"
VERSION: Final = "1"
SECURITY: Final = {"bearer": {"type": "http", "scheme": "bearer"}}
"""Demanded where the tier has a token."""
ModelName = Annotated[str, Path(description="The one model there is.", json_schema_extra={"enum": [MODEL]})]

Responses = dict[int | str, dict[str, Any]]

_ERROR: Final = {
    "type": "object",
    "required": ["error", "code", "request_id", "tier", "retryable"],
    "properties": {
        "error": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "tier": {"type": "string", "enum": ["device", "edge", "cloud"]},
        "retryable": {"type": "boolean"},
    },
}
_DATATYPES: Final = [
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "BYTES"),
]
_PARAMETERS: Final = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_TENSOR: Final = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string", "enum": _DATATYPES},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "parameters": _PARAMETERS,
        "data": {"type": "array"},
    },
}
_REQUEST: Final = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string", "maxLength": 256},
        "parameters": _PARAMETERS,
        "inputs": {"type": "array", "minItems": 1, "items": _TENSOR},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "parameters": _PARAMETERS},
            },
        },
    },
}
_RESPONSE: Final = {
    "type": "object",
    "required": ["model_name", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "parameters": _PARAMETERS,
        "outputs": {"type": "array", "items": _TENSOR},
    },
}
_HEADERS: Final = {
    HEADER_LENGTH: ("integer", "Bytes of the body that are JSON, raw tensors follow; without it all of them"),
    "x-ddnn-deadline-ms": ("number", "Time budget in milliseconds; the tier's own by default"),
    "x-ddnn-bundle": ("string", "Fingerprint of the caller's bundle; another one is 409"),
    "x-request-id": ("string", "Comes back, and goes up with the request; made when missing"),
    "traceparent": ("string", "W3C trace context, passed on"),
}
_ERRORS: Final = {
    400: "Bad input: JSON, dtype, shape, NaN, header length",
    401: "Bearer token missing or wrong",
    404: "No such model",
    409: "The caller runs another bundle",
    413: "Body too large",
    415: "Unknown Content-Encoding",
    429: "No room",
    500: "Our fault",
    503: "Starting or shutting down",
    504: "Deadline passed, nothing to answer with",
}


def _error(status: int) -> Responses:
    return {status: {"description": _ERRORS[status], "content": {"application/json": {"schema": _ERROR}}}}


UNAVAILABLE: Final = _error(503)
NOT_FOUND: Final = _error(404)


def infer(example: Mapping[str, Any], *, token: bool) -> dict[str, Any]:
    """Keyword arguments of the infer route; `example` is a request that this tier answers, `token` what it demands."""
    binary = {"schema": {"type": "string", "format": "binary", "description": "JSON, then the raw tensors"}}
    responses: Responses = {
        200: {
            "description": "An answer a row, degraded ones included",
            "content": {"application/json": {"schema": _RESPONSE}, "application/octet-stream": binary},
        }
    }
    for status in _ERRORS:
        responses |= _error(status)
    content = {
        "application/json": {"schema": _REQUEST, "example": dict(example)},
        "application/octet-stream": binary,
    }
    headers = [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": kind}}
        for name, (kind, text) in _HEADERS.items()
    ]
    extra = {
        "requestBody": {"required": True, "content": content},
        "parameters": headers,
        "security": [{"bearer": []}] if token else [],
    }
    return {"responses": responses, "openapi_extra": extra}
