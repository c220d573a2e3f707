"""Pages that are for this machine alone: of a demonstration, and to label by."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response

from ddnn.errors import DDNNError, NotFound
from ddnn.serving.http import refusal

__all__ = ["HOST", "make_local"]

HOST: Final = "127.0.0.1"
_NAMES: Final = [HOST, "localhost"]


def make_local(name: str, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> FastAPI:
    """An application that answers to names of this machine alone, with the one error body, in which it has a `name`."""
    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_NAMES)

    @app.exception_handler(DDNNError)
    async def refused(request: Request, error: DDNNError) -> Response:
        _, body = refusal(error, tier=name, request="")
        return Response(body, error.status, media_type="application/json")

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return await refused(request, NotFound(f"{request.method} {request.url.path[:100]}: {error.detail}"))

    return app
