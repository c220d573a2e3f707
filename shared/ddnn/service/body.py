"""A request's body, read with a bound before anything looks at it."""

import zlib
from typing import Final

from starlette.requests import ClientDisconnect, Request

from ddnn.errors import BadInput, TooLarge, UnsupportedEncoding
from ddnn.wire import HEADER_LENGTH, Limits

__all__ = ["read_body", "read_bytes"]

_MEMBERS: Final = 64


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read at most what `limits` allow, after gzip; raise `TooLarge`, `UnsupportedEncoding` or `BadInput`."""
    return await read_bytes(request, limits.body_bytes if HEADER_LENGTH in request.headers else limits.json_bytes)


async def read_bytes(request: Request, limit: int) -> bytes:
    """The same, `limit` bytes at most."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip"):
        raise UnsupportedEncoding(f"Content-Encoding is {encoding[:40]!r}; expected gzip or none")
    stated = request.headers.get("content-length", "0")
    if stated.isdecimal() and int(stated) > limit:
        raise TooLarge(f"the body is {stated} bytes; expected at most {limit}")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise TooLarge(f"the body is over {limit} bytes; expected at most that")
    except ClientDisconnect as error:
        raise BadInput(f"the caller left after {len(body)} bytes of the body") from error
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
