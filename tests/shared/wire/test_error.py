"""An error crosses HTTP and stays the same error."""

import orjson
import pytest

from ddnn import errors
from ddnn.errors import BadInput, DDNNError, OtherBundle, Overloaded, Unavailable
from ddnn.wire import decode_error, encode_error


def test_the_error_body_has_these_keys() -> None:
    body = encode_error(Overloaded("no room for event 'a'"), request_id="r-1", tier="edge")
    assert orjson.loads(body) == {
        "error": "no room for event 'a'",
        "code": "OVERLOADED",
        "request_id": "r-1",
        "tier": "edge",
        "retryable": True,
    }


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_comes_back_as_its_own_class(name: str) -> None:
    error: DDNNError = getattr(errors, name)("what was found")
    back = decode_error(error.status, encode_error(error, request_id="", tier="cloud"))
    assert (type(back), str(back)) == (type(error), "what was found")


@pytest.mark.parametrize(
    ("status", "kind"), [(400, BadInput), (409, OtherBundle), (429, Overloaded), (503, Unavailable), (418, DDNNError)]
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error":7,"code":[]}', b"\xff", b"[" * 5000])
def test_a_body_of_somebody_else_is_read_by_its_status(status: int, kind: type[DDNNError], body: bytes) -> None:
    error = decode_error(status, body)
    assert type(error) is kind
    assert f"HTTP {status} without an error body" in str(error)
