"""The quickest way to refuse a request: before anything is made for it, by what came on its connection.

A tier that sheds two events of three refuses twice as many requests as it answers, on the CPU that is short.
"""

from typing import Any, Final

import orjson

from ddnn.errors import Overloaded
from ddnn.serving.faces import Faces
from ddnn.serving.openapi import MODEL
from ddnn.serving.service import Service
from ddnn.wire import HEADER_LENGTH, encode_error

__all__ = ["MOST_BODY", "Turnstile", "first_event"]

MOST_BODY: Final = 64 << 10  #: bytes of a body that is looked into
_PATH: Final = f"/v2/models/{MODEL}/infer".encode()
_LENGTH: Final = HEADER_LENGTH.lower().encode()
_RETRY_S: Final = 1
_NOT_HERE: Final = frozenset({b"expect", b"transfer-encoding", b"content-encoding", b"x-ddnn-bundle", b"x-request-id"})
"""Headers of requests that are looked at in peace."""


class Turnstile:
    """Of one tier whose events begin here."""

    def __init__(self, service: Service, faces: Faces) -> None:
        self._service, self._faces = service, faces
        self._response, self._why = b"", ""

    def closes(self, method: bytes, path: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether a request with this head may be refused here, once its body is there."""
        service = self._service
        return (
            service.child is None
            and service.sheds > 0
            and method == b"POST"
            and path == _PATH
            and not any(name in _NOT_HERE for name, _ in headers)
        )

    def refusal(self, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes | None:
        """The whole response to a request that is shed; None where it is to be answered."""
        length = next((value for name, value in headers if name == _LENGTH), b"")
        try:
            self._service.refuse_pressed(first_event(body, length))
        except Overloaded as error:
            self._faces.first.count(error.status)
            return self._written(error)
        except ValueError:  # what is wrong with it is said elsewhere
            return None
        return None

    def _written(self, error: Overloaded) -> bytes:
        """As bytes, which are the same until the reason is another."""
        if (why := str(error)) != self._why:
            body = encode_error(error, request_id="", tier=self._service.tier)
            head = (
                f"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            )
            self._response = head.encode() + b"retry-after: %d\r\n\r\n" % _RETRY_S + body
            self._why = why
        return self._response


def first_event(body: bytes, header_length: bytes) -> bytes | None:
    """The id of a request's first event, None where it has none; raise `ValueError` for what is no request."""
    end = int(header_length) if header_length.isdigit() else len(body)
    document: Any = orjson.loads(memoryview(body)[:end])
    try:
        at = end
        for entry in document["inputs"]:
            size = (entry.get("parameters") or {}).get("binary_data_size")
            if entry["name"] == "event":
                if size is None:
                    return str(entry["data"][0]).encode()
                count = int.from_bytes(body[at : at + 4], "little")
                if not 0 < count <= size - 4 or len(body) < at + 4 + count:
                    raise ValueError("an event id is cut off")
                return body[at + 4 : at + 4 + count]
            at += size or 0
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError("this is no request") from error
    return None
