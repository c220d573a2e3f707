"""The HTTP face of a service."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

import ddnn
from ddnn.errors import BadInput, DDNNError, MethodNotAllowed, NotFound, TooLarge
from ddnn.serving import openapi
from ddnn.serving.base import Service
from ddnn.serving.gate import Gate, error_response
from ddnn.serving.infer import PATHS, Infer
from ddnn.serving.routes import make_routes

__all__ = ["make_app"]

_log = logging.getLogger("ddnn")
_ERRORS: dict[int, type[DDNNError]] = {404: NotFound, 405: MethodNotAllowed, 413: TooLarge}


class _App(FastAPI):
    """FastAPI behind the gate, with a way past its layers for inference."""

    def __init__(self, service: Service, **given: Any) -> None:
        super().__init__(**given)
        self.state.service = service
        self._infer = Infer(service)
        self._gate = Gate(self._route, service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the gate stands before every one."""
        await (self._gate if scope["type"] == "http" else super().__call__)(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        inference = scope["method"] == "POST" and scope["path"] in PATHS
        await (self._infer if inference else super().__call__)(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The page, with how a token is shown."""
        page = super().openapi()
        page.setdefault("components", {})["securitySchemes"] = openapi.SECURITY
        return page


def make_app(service: Service) -> FastAPI:
    """Wrap a service, already loaded and self-tested, in FastAPI."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        _log.info("%s %d ready: bundle %s", service.tier, service.settings.index, service.bundle.fingerprint[:12])
        service.lag.start()
        if service.follower:
            service.follower.start()
        yield
        service.draining = True
        await service.close()
        _log.info("%s %d drained", service.tier, service.settings.index)

    app = _App(
        service,
        title=f"ddnn {service.tier}",
        version=ddnn.__version__,
        description="One tier of a distributed neural network, by the Open Inference Protocol v2.",
        lifespan=lifespan,
    )
    app.include_router(make_routes(service))

    def respond(request: Request, error: DDNNError) -> Response:
        return error_response(error, tier=service.tier, request=_id(request))

    @app.exception_handler(DDNNError)
    async def refused(request: Request, error: DDNNError) -> Response:
        return respond(request, error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        kind = _ERRORS.get(error.status_code, BadInput)
        response = respond(request, kind(f"{request.method} {request.url.path[:200]}: {error.detail}"))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def ours(request: Request, error: Exception) -> Response:
        _log.error("request %s failed", _id(request), exc_info=error)
        return respond(request, DDNNError(f"an error of ours; this tier's log has it under {_id(request)}"))

    return app


def _id(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))
