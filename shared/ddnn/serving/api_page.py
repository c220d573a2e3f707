"""`/docs`, the OpenAPI page: Swagger UI out of a package, so that it needs no internet, under a strict policy."""

from functools import cache
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from ddnn.errors import NotFound
from ddnn.pages import render
from ddnn.serving.room.page import HEADERS, etag_of

__all__ = ["make_api_page"]

_FILES: Final = {
    "swagger-ui.js": ("fastapi_swagger.resources", "swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": ("fastapi_swagger.resources", "swagger-ui.css", "text/css"),
    "start.js": ("ddnn", "templates/api.js", "text/javascript"),
}


@cache
def _read(name: str) -> tuple[bytes, str]:
    package, file, _ = _FILES[name]
    content = files(package).joinpath(file).read_bytes()
    return content, etag_of(content)


def make_api_page(title: str) -> APIRouter:
    """The page and its files, readable by whoever reaches the tier, as what it describes is."""
    routes = APIRouter(include_in_schema=False)
    html = render("api.html", {"title": title})

    @routes.api_route("/docs", methods=["GET", "HEAD"])
    async def page() -> Response:
        return Response(html, headers={**HEADERS, "Content-Type": "text/html; charset=utf-8"})

    @routes.api_route("/docs/files/{name}", methods=["GET", "HEAD"])
    async def file(request: Request, name: str) -> Response:
        if name not in _FILES:
            raise NotFound(f"the page has no file {name[:40]!r}")
        content, etag = _read(name)
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={**HEADERS, "ETag": etag})
        return Response(content, headers={**HEADERS, "ETag": etag, "Content-Type": f"{_FILES[name][2]}; charset=utf-8"})

    return routes
