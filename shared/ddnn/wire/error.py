"""The one error body, both ways."""

from typing import Any, Final

import orjson

from ddnn import errors
from ddnn.errors import DDNNError
from ddnn.wire.tensors import shown

__all__ = ["decode_error", "encode_error"]

_CLASSES: Final[list[type[DDNNError]]] = [
    # Where classes share a status, the general one comes first.
    errors.BadInput,
    errors.OtherBundle,
    errors.Unavailable,
    *(getattr(errors, name) for name in errors.__all__),
]
_BY_CODE: Final[dict[str, type[DDNNError]]] = {kind.code: kind for kind in _CLASSES}
_BY_STATUS: Final[dict[int, type[DDNNError]]] = {kind.status: kind for kind in reversed(_CLASSES)} | {500: DDNNError}


def encode_error(error: DDNNError, *, request_id: str, tier: str) -> bytes:
    """Return the error body: a sentence, a stable code, and whether to try again."""
    return orjson.dumps(
        {"error": str(error), "code": error.code, "request_id": request_id, "tier": tier, "retryable": error.retryable}
    )


def decode_error(status: int, body: bytes) -> DDNNError:
    """Return the error that an answer other than 200 stands for; never raises, whoever wrote the body."""
    try:
        document: Any = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError):
        document = None
    if not isinstance(document, dict):
        document = {}
    code, sentence = document.get("code"), document.get("error")
    kind = (_BY_CODE.get(code) if isinstance(code, str) else None) or _BY_STATUS.get(status, DDNNError)
    if isinstance(sentence, str) and sentence:
        return kind(sentence[:1000])
    return kind(f"HTTP {status} without an error body ({shown(bytes(body[:60]))})")
