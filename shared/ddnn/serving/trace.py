"""Ids that travel with a request: `x-request-id` and W3C `traceparent`."""

import re
import secrets
from collections.abc import Mapping
from random import getrandbits

__all__ = ["request_id", "travelling"]

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})")


def request_id(headers: Mapping[str, str]) -> str:
    """The caller's `x-request-id` if it is printable and at most 128 characters, else a new one."""
    given = headers.get("x-request-id", "")
    # Unique, not secret: a secret costs several times as much.
    return given if _REQUEST_ID.fullmatch(given) else f"{getrandbits(128):032x}"


def travelling(headers: Mapping[str, str], request: str) -> dict[str, str]:
    """What the request upward carries: the same request id, the same trace with this hop as its parent."""
    match = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    trace, flags = match.groups() if match else (secrets.token_hex(16), "00")
    return {"x-request-id": request, "traceparent": f"00-{trace}-{secrets.token_hex(8)}-{flags}"}
