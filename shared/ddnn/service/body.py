"""A request's body, read with a bound before anything looks at it."""

import zlib

from starlette.requests import Request

from ddnn.errors import BadInput, TooLarge, UnsupportedEncoding

__all__ = ["read_body"]


async def read_body(request: Request, limit: int) -> bytes:
    """Read at most `limit` bytes, after gzip; raise `TooLarge`, `UnsupportedEncoding` or `BadInput`."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise UnsupportedEncoding(f"Content-Encoding is {encoding[:40]!r}; expected gzip or none")
    stated = request.headers.get("content-length", "0")
    if stated.isdecimal() and int(stated) > limit:
        raise TooLarge(f"the body is {stated} bytes; expected at most {limit}")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"the body is over {limit} bytes; expected at most that")
    return _gunzip(bytes(body), limit) if encoding == "gzip" else bytes(body)


def _gunzip(packed: bytes, limit: int) -> bytes:
    unzip = zlib.decompressobj(wbits=31)
    try:
        body = unzip.decompress(packed, limit + 1)
    except zlib.error as error:
        raise BadInput(f"the body is not valid gzip: {error}") from error
    if len(body) > limit:
        raise TooLarge(f"the body is over {limit} bytes after gzip; expected at most that")
    if not unzip.eof:
        raise BadInput("the gzip body is cut short")
    return body
