"""What can be wrong with a link, or with whoever is at its far end."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, get_args

__all__ = ["ANSWERS", "FAULTS", "THROUGH", "Fault"]

Fault = Literal[
    "none",
    "refuse",  # connections are refused, open ones reset
    "hang",  # connections are taken, and nothing passes either way
    "garbage",  # bytes that are no HTTP, then the end
    "nonsense",  # HTTP 200 with a body that means nothing
    "error500",  # HTTP 500
    "cut-up",  # nothing passes upward
    "cut-down",  # nothing passes downward
    "flap",  # refuses and passes in turn
]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
THROUGH: Final[frozenset[Fault]] = frozenset({"none", "hang", "cut-up", "cut-down"})
"""Under these the far end is the real one, and open connections outlive a change from one to another."""


def _http(status: str, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


_OUTPUT = b'{"name":"label","datatype":"INT64","shape":[1],"parameters":{"binary_data_size":8}}'
_PROMISING = b'{"model_name":"ddnn","outputs":[' + _OUTPUT + b"]}"

ANSWERS: Final[Mapping[Fault, Sequence[bytes]]] = {
    "garbage": [b"\x15\x03\x01\x00\x02\x02\x46 this is no HTTP\r\n\r\n", b"\x00" * 512],
    "nonsense": [
        _http("200 OK", b"{}", "content-type: application/json"),
        _http("200 OK", b"<html><body>welcome</body></html>", "content-type: text/html"),
        # A label, well-formed and alone: not what was asked for.
        _http("200 OK", _PROMISING + bytes(8), f"inference-header-content-length: {len(_PROMISING)}"),
        _http("200 OK", b'{"outputs": 3', "inference-header-content-length: 9000"),
        _http("200 OK", b""),
    ],
    "error500": [_http("500 Internal Server Error", b'{"error": "something broke"}', "content-type: application/json")],
}
"""What is answered instead of the far end, in turn."""
