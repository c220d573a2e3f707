"""What the OpenAPI page says of the protocol's one POST, of the policy, and of errors."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import orjson
from fastapi import Path

from ddnn.errors import BadInput
from ddnn.policy import Policy
from ddnn.serving.pictures import EVENT_HEADER, OPTIONS
from ddnn.types import Tier
from ddnn.wire import DATATYPES, HEADER_LENGTH

__all__ = ["MODEL", "MOST_OF_INDEX", "READ_POLICY", "REPOSITORY", "ROLL_BACK", "SECURITY", "VERSION", "ModelName"]
__all__ += ["doubts_page", "errors", "infer", "ready_alone", "write_policy"]

MODEL: Final = "ddnn"
VERSION: Final = "1"
# `bearer` where the tier has a token, `admin` wherever something is written.
SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "admin": {"type": "http", "scheme": "bearer", "description": "The tier's DDNN_ADMIN_TOKEN"},
}
ModelName = Annotated[str, Path(description="The one model there is.", json_schema_extra={"enum": [MODEL]})]

Responses = dict[int | str, dict[str, Any]]


def _object(optional: Mapping[str, object] | None = None, **required: object) -> dict[str, Any]:
    return {"type": "object", "required": [*required], "properties": {**required, **(optional or {})}}


def _list(items: object, **bounds: int) -> dict[str, Any]:
    return {"type": "array", "items": items, **bounds}


def _parameter(name: str, text: str, kind: str = "string", where: str = "header", **schema: object) -> dict[str, Any]:
    return {"name": name, "in": where, "required": False, "description": text, "schema": {"type": kind, **schema}}


_TEXT: Final = {"type": "string"}
# What is absent may be null.
_PARAMETERS: Final = {
    "type": ["object", "null"],
    "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
}
_ERROR: Final = _object(
    **dict.fromkeys(("error", "code", "request_id"), _TEXT),
    tier={**_TEXT, "enum": [*Tier]},
    retryable={"type": "boolean"},
)
_TENSOR: Final = _object(
    {"parameters": _PARAMETERS, "data": {"type": ["array", "null"]}},
    name=_TEXT,
    datatype={**_TEXT, "enum": [*DATATYPES]},
    shape=_list({"type": "integer", "minimum": 0}),
)
_OUTPUTS: Final = {**_list(_object({"parameters": _PARAMETERS}, name=_TEXT)), "type": ["array", "null"]}
_REQUEST: Final = _object(
    {"id": {"type": ["string", "null"], "maxLength": 256}, "parameters": _PARAMETERS, "outputs": _OUTPUTS},
    inputs=_list(_TENSOR, minItems=1),
)
_RESPONSE: Final = _object(
    {"model_version": _TEXT, "id": _TEXT, "parameters": _PARAMETERS}, model_name=_TEXT, outputs=_list(_TENSOR)
)
_BINARY: Final = {"schema": {**_TEXT, "format": "binary", "description": "JSON, then the raw tensors"}}
_HEADERS: Final = [
    _parameter(HEADER_LENGTH, "Bytes of the body that are JSON, raw tensors follow; without it all of them", "integer"),
    _parameter("x-ddnn-deadline-ms", "Time budget in milliseconds; the tier's own by default", "number"),
    _parameter("x-ddnn-bundle", "Fingerprint of the caller's bundle; another one is 409"),
    _parameter("x-request-id", "Comes back, and goes up with the request; made when missing"),
    _parameter("traceparent", "W3C trace context, passed on"),
]
_PICTURE: Final = {"schema": {**_TEXT, "format": "binary", "description": "A photograph: one row, shown as a view"}}
_PICTURES: Final = dict.fromkeys(("image/jpeg", "image/png", "image/webp"), _PICTURE)
_OF_PICTURES: Final = [
    _parameter(EVENT_HEADER, "Event id of a photograph, where the query has none"),
    *(_parameter(name, "As in JSON; of a photograph alone", where="query") for name in OPTIONS),
]
_ERRORS: Final = {
    400: "Bad input: JSON, dtype, shape, NaN, header length, picture",
    401: "Bearer token missing or wrong",
    403: "Not the admin token, or this tier has none",
    404: "No such model, or event",
    409: "The caller runs another bundle",
    412: "The policy has changed since it was read",
    413: "Body too large",
    415: "Unknown Content-Encoding",
    429: "No room",
    500: "Our fault",
    503: "Starting or shutting down",
    504: "Deadline passed, nothing to answer with",
}


def errors(*statuses: int) -> Responses:
    """Responses of a route that may refuse with any of `statuses`."""
    content = {"application/json": {"schema": _ERROR}}
    return {status: {"description": _ERRORS[status], "content": content} for status in statuses}


def doubts_page(most: int) -> dict[str, Any]:
    """Keyword arguments of the route that lists what is kept, at most so many at once."""
    after = _parameter("after", "Number of the last event that is known", "integer", "query", minimum=0)
    at_once = _parameter("most", "Events at once", "integer", "query", minimum=1, maximum=most)
    extra = {"parameters": [after, at_once], "security": [{"admin": []}]}
    return {"responses": errors(400, 401, 403, 409, 503), "openapi_extra": extra}


def infer(example: Mapping[str, Any], *, token: bool, pictures: bool) -> dict[str, Any]:
    """Keyword arguments of the infer route; `example` is a request that this tier answers.

    `token`: it demands one; `pictures`: a body may be a photograph.
    """
    answer = {"application/json": {"schema": _RESPONSE}, "application/octet-stream": _BINARY}
    asked = {"application/json": {"schema": _REQUEST, "example": dict(example)}, "application/octet-stream": _BINARY}
    asked |= _PICTURES if pictures else {}
    return {
        "responses": {
            200: {"description": "An answer a row, degraded ones included", "content": answer},
            **errors(400, 401, 403, 404, 409, 413, 415, 429, 500, 503, 504),
        },
        "openapi_extra": {
            "requestBody": {"required": True, "content": asked},
            "parameters": [*_HEADERS, *(_OF_PICTURES if pictures else ())],
            "security": [{"bearer": []}] if token else [],
        },
    }


MOST_OF_INDEX: Final = 4096  #: bytes that a question for the repository may have
_INDEX: Final = _object(
    {"version": _TEXT, "reason": _TEXT}, name=_TEXT, state={**_TEXT, "enum": ["READY", "UNAVAILABLE"]}
)
_ASKED_INDEX: Final = _object({"ready": {"type": "boolean"}})
REPOSITORY: Final[dict[str, Any]] = {
    "responses": {
        200: {"description": "The models", "content": {"application/json": {"schema": _list(_INDEX)}}},
        **errors(400, 413, 415),
    },
    "openapi_extra": {"requestBody": {"required": False, "content": {"application/json": {"schema": _ASKED_INDEX}}}},
}


def ready_alone(body: bytes) -> bool:
    """Whether a question for the repository, none or an object, wants only models that are ready; or `BadInput`."""
    try:
        asked = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        raise BadInput(f"the body is not valid JSON ({error})") from error
    ready = asked.get("ready", False) if isinstance(asked, dict) else None
    if not isinstance(ready, bool):
        raise BadInput("the body is neither empty nor an object whose 'ready' is true or false")
    return ready


_ETAG: Final = {"ETag": {"description": "Names this very policy", "schema": _TEXT}}
READ_POLICY: Final[dict[str, Any]] = {
    "responses": {
        200: {"model": Policy, "description": "The policy in force", "headers": _ETAG},
        304: {"description": "The caller has it already"},
        **errors(401),
    },
    "openapi_extra": {"parameters": [_parameter("If-None-Match", "ETag of the policy the caller has")]},
}


def _write(*statuses: int, parameters: tuple[object, ...] = (), **extra: object) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    done = {"description": "The version now in force, or what a dry run found", "headers": _ETAG, "content": content}
    parameters = _parameter("If-Match", "ETag of the policy that is to be replaced"), *parameters
    return {
        "responses": {200: done, **errors(400, 401, 403, 409, 412, *statuses)},
        "openapi_extra": {"parameters": [*parameters], "security": [{"admin": []}], **extra},
    }


ROLL_BACK: Final = _write()


def write_policy(example: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the route that writes the policy; `example` is one that it takes."""
    content = {"schema": {"$ref": "#/components/schemas/Policy"}, "example": dict(example)}
    text = "Change nothing; say what it would have done with the decisions recorded here"
    dry_run = _parameter("dry_run", text, "boolean", "query", default=False)
    body = {"required": True, "content": {"application/json": content}}
    return _write(413, 415, 504, parameters=(dry_run,), requestBody=body)
