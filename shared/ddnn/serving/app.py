"""The HTTP face of a service."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

import ddnn
from ddnn.errors import BadInput, DDNNError, MethodNotAllowed, NotFound, TooLarge
from ddnn.serving.http import App, refusal
from ddnn.serving.routes import make_routes
from ddnn.serving.service import Service

__all__ = ["make_app"]

_log = logging.getLogger("ddnn")
_ERRORS: dict[int, type[DDNNError]] = {404: NotFound, 405: MethodNotAllowed, 413: TooLarge}


def make_app(service: Service) -> FastAPI:
    """Wrap a service, already loaded and self-tested, in FastAPI, behind the middleware that serves inference."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        _log.info("%s %d ready: bundle %s", service.tier, service.settings.index, service.bundle.fingerprint[:12])
        service.start()
        yield
        service.draining = True
        await service.close()
        _log.info("%s %d drained", service.tier, service.settings.index)

    app = App(
        service,
        title=f"ddnn {service.tier}",
        version=ddnn.__version__,
        description="One tier of a distributed neural network, by the Open Inference Protocol v2.",
        lifespan=lifespan,
    )
    app.include_router(make_routes(service))

    def respond(request: Request, error: DDNNError, headers: Mapping[str, str] | None = None) -> Response:
        head, body = refusal(error, tier=service.tier, request=_id(request))
        response = Response(body, error.status, headers)
        response.raw_headers = [*response.raw_headers, *(pair for pair in head if pair[0] != b"content-length")]
        return response

    @app.exception_handler(DDNNError)
    async def refused(request: Request, error: DDNNError) -> Response:
        return respond(request, error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        kind = _ERRORS.get(error.status_code, BadInput)
        return respond(request, kind(f"{request.method} {request.url.path[:200]}: {error.detail}"), error.headers)

    @app.exception_handler(Exception)
    async def ours(request: Request, error: Exception) -> Response:
        _log.error("request %s failed", _id(request), exc_info=error)
        return respond(request, DDNNError(f"an error of ours; this tier's log has it under {_id(request)}"))

    return app


def _id(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))
