"""The page and its files: from the package, escaped, under a policy by which nothing else is loaded or run."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any, Final

from starlette.responses import Response

from ddnn.errors import NotFound
from ddnn.pages import render

__all__ = ["HEADERS", "asset", "etag_of", "page"]

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_KINDS: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_FILES: Final = frozenset(
    f"{name}.{kind}"
    for kind, names in {"js": "room draw stream policy charts demo uplot", "css": "room uplot", "svg": "icon"}.items()
    for name in names.split()
)


def etag_of(content: bytes) -> str:
    """The entity tag of a file."""
    return f'"{hashlib.sha256(content).hexdigest()[:24]}"'


@cache
def _read(name: str) -> tuple[bytes, str]:
    content = files("ddnn").joinpath("templates", "room", name).read_bytes()
    return content, etag_of(content)


def page(**facts: Any) -> Response:
    """The page of a fleet with these facts."""
    html = render("room/room.html", facts)
    return Response(html, headers={**HEADERS, "Content-Type": "text/html; charset=utf-8"})


def asset(name: str, if_none_match: str | None = None) -> Response:
    """One of the page's files; raise `NotFound`."""
    if name not in _FILES:
        raise NotFound(f"the page has no file {name[:40]!r}")
    content, etag = _read(name)
    if if_none_match == etag:
        return Response(status_code=304, headers={**HEADERS, "ETag": etag})
    kind = _KINDS[name[name.rindex(".") :]]
    return Response(content, headers={**HEADERS, "ETag": etag, "Content-Type": f"{kind}; charset=utf-8"})
