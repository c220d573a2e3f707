"""A request's body, read with a bound before anything looks at it."""

import zlib
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.types import Receive

from ddnn.errors import BadInput, TooLarge, UnsupportedEncoding
from ddnn.wire import HEADER_LENGTH, Limits

__all__ = ["read_body", "read_bytes"]

_MEMBERS: Final = 64
_BINARY: Final = HEADER_LENGTH.lower()


async def read_body(receive: Receive, headers: Mapping[str, str], limits: Limits) -> bytes:
    """Read at most what `limits` allow, after gzip; raise `TooLarge`, `UnsupportedEncoding` or `BadInput`.

    The names of `headers` are in lower case, as ASGI has them.
    """
    return await _read(receive, headers, limits.body_bytes if _BINARY in headers else limits.json_bytes)


async def read_bytes(request: Request, limit: int) -> bytes:
    """The body of a framework's request, `limit` bytes at most."""
    return await _read(request.receive, request.headers, limit)


async def _read(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip"):
        raise UnsupportedEncoding(f"Content-Encoding is {encoding[:40]!r}; expected gzip or none")
    stated = headers.get("content-length", "0")
    if stated.isdecimal() and int(stated) > limit:
        raise TooLarge(f"the body is {stated} bytes; expected at most {limit}")
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadInput(f"the caller left after {len(body)} bytes of the body")
        chunk, more = message.get("body", b""), message.get("more_body", False)
        if len(body) + len(chunk) > limit:
            raise TooLarge(f"the body is over {limit} bytes; expected at most that")
        if not more and not body and encoding != "gzip":
            return bytes(chunk)  # all at once, as most are: bytes stay as they are, without a copy
        body += chunk
    return _gunzip(bytes(body), limit) if encoding == "gzip" else bytes(body)


def _gunzip(packed: bytes, limit: int) -> bytes:
    """Unpack all members; their number is bounded, as each copies what follows it."""
    body = bytearray()
    for _ in range(_MEMBERS):
        unzip = zlib.decompressobj(wbits=31)
        try:
            body += unzip.decompress(packed, limit + 1 - len(body))
        except zlib.error as error:
            raise BadInput(f"the body is not valid gzip: {error}") from error
        if len(body) > limit:
            raise TooLarge(f"the body is over {limit} bytes after gzip; expected at most that")
        if not unzip.eof:
            raise BadInput("the gzip body is cut short")
        packed = unzip.unused_data
        if not packed:
            return bytes(body)
    raise BadInput(f"the gzip body has more than {_MEMBERS} members; expected fewer")
