"""What the OpenAPI page says of the protocol's one POST, and of errors."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import Path

from ddnn.policy import Policy
from ddnn.types import Tier
from ddnn.wire import DATATYPES, HEADER_LENGTH

__all__ = [
    "MODEL",
    "NOT_FOUND",
    "SECURITY",
    "UNAVAILABLE",
    "VERSION",
    "ModelName",
    "get_policy",
    "infer",
    "put_policy",
    "roll_back",
]

MODEL: Final = "ddnn"
VERSION: Final = "1"
SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "admin": {"type": "http", "scheme": "bearer", "description": "The tier's DDNN_ADMIN_TOKEN"},
}
"""`bearer` where the tier has a token, `admin` wherever something is written."""
ModelName = Annotated[str, Path(description="The one model there is.", json_schema_extra={"enum": [MODEL]})]

Responses = dict[int | str, dict[str, Any]]


def _object(*required: str, **properties: object) -> dict[str, Any]:
    return {"type": "object", "required": [*required], "properties": properties}


_TEXT: Final = {"type": "string"}
_PARAMETERS: Final = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_ERROR: Final = _object(
    *("error", "code", "request_id", "tier", "retryable"),
    error=_TEXT,
    code=_TEXT,
    request_id=_TEXT,
    tier={"type": "string", "enum": [*Tier]},
    retryable={"type": "boolean"},
)
_ETAG: Final = {"ETag": {"description": "Names this very policy", "schema": _TEXT}}
_TENSOR: Final = _object(
    *("name", "datatype", "shape"),
    name=_TEXT,
    datatype={"type": "string", "enum": [*DATATYPES]},
    shape={"type": "array", "items": {"type": "integer", "minimum": 0}},
    parameters=_PARAMETERS,
    data={"type": "array"},
)
_OUTPUT: Final = _object("name", name=_TEXT, parameters=_PARAMETERS)
_REQUEST: Final = _object(
    "inputs",
    id={"type": "string", "maxLength": 256},
    parameters=_PARAMETERS,
    inputs={"type": "array", "minItems": 1, "items": _TENSOR},
    outputs={"type": "array", "items": _OUTPUT},
)
_RESPONSE: Final = _object(
    *("model_name", "outputs"),
    model_name=_TEXT,
    model_version=_TEXT,
    id=_TEXT,
    parameters=_PARAMETERS,
    outputs={"type": "array", "items": _TENSOR},
)
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
    403: "Not the admin token, or this tier has none",
    404: "No such model",
    409: "The caller runs another bundle",
    412: "The policy has changed since it was read",
    413: "Body too large",
    415: "Unknown Content-Encoding",
    429: "No room",
    500: "Our fault",
    503: "Starting or shutting down",
    504: "Deadline passed, nothing to answer with",
}


_INFER_ERRORS: Final = (400, 401, 404, 409, 413, 415, 429, 500, 503, 504)
_POLICY_ERRORS: Final = (400, 401, 403, 409, 412)
_BODY_ERRORS: Final = (413, 415, 504)


def _error(status: int) -> Responses:
    return {status: {"description": _ERRORS[status], "content": {"application/json": {"schema": _ERROR}}}}


UNAVAILABLE: Final = _error(503)
NOT_FOUND: Final = _error(404)


def get_policy() -> dict[str, Any]:
    """Keyword arguments of the route that reads the policy."""
    return {
        "responses": {
            200: {"model": Policy, "description": "The policy in force", "headers": _ETAG},
            304: {"description": "The caller has it already"},
        },
        "openapi_extra": {"parameters": [_header("If-None-Match", "ETag of the policy the caller has")]},
    }


def put_policy(example: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the route that writes it; `example` is a policy that it takes."""
    content = {"schema": {"$ref": "#/components/schemas/Policy"}, "example": dict(example)}
    asked = {
        "name": "dry_run",
        "in": "query",
        "required": False,
        "description": "Change nothing; say what it would have done with the decisions recorded here",
        "schema": {"type": "boolean", "default": False},
    }
    return _write({"requestBody": {"required": True, "content": {"application/json": content}}}, asked, *_BODY_ERRORS)


def roll_back() -> dict[str, Any]:
    """Keyword arguments of the route that goes back to the policy before."""
    return _write({})


def _write(extra: dict[str, Any], asked: dict[str, Any] | None = None, *more: int) -> dict[str, Any]:
    done = {"description": "The version now in force, or what a dry run found", "headers": _ETAG}
    responses: Responses = {200: {**done, "content": {"application/json": {"schema": {"type": "object"}}}}}
    for status in (*_POLICY_ERRORS, *more):
        responses |= _error(status)
    parameters = [_header("If-Match", "ETag of the policy that is to be replaced"), *([asked] if asked else [])]
    return {"responses": responses, "openapi_extra": {**extra, "parameters": parameters, "security": [{"admin": []}]}}


def _header(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": text, "schema": _TEXT}


def infer(example: Mapping[str, Any], *, token: bool) -> dict[str, Any]:
    """Keyword arguments of the infer route; `example` is a request that this tier answers, `token` what it demands."""
    binary = {"schema": {"type": "string", "format": "binary", "description": "JSON, then the raw tensors"}}
    responses: Responses = {
        200: {
            "description": "An answer a row, degraded ones included",
            "content": {"application/json": {"schema": _RESPONSE}, "application/octet-stream": binary},
        }
    }
    for status in _INFER_ERRORS:
        responses |= _error(status)
    content = {"application/json": {"schema": _REQUEST, "example": dict(example)}, "application/octet-stream": binary}
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
