"""The HTTP face of a service."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

import ddnn
from ddnn.errors import DDNNError
from ddnn.service.base import Service
from ddnn.service.gate import Gate, error_response
from ddnn.service.routes import make_routes

__all__ = ["make_app"]

_log = logging.getLogger("ddnn")
_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "TOO_LARGE"}


def make_app(service: Service) -> FastAPI:
    """Wrap a service, already loaded and self-tested, in FastAPI."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        _log.info("%s %d ready: bundle %s", service.tier, service.settings.index, service.bundle.fingerprint[:12])
        yield
        service.draining = True
        await service.close()
        _log.info("%s %d drained", service.tier, service.settings.index)

    app = FastAPI(
        title=f"ddnn {service.tier}",
        version=ddnn.__version__,
        description="One tier of a distributed neural network, by the Open Inference Protocol v2.",
        lifespan=lifespan,
    )
    app.state.service = service
    app.include_router(make_routes(service))
    app.add_middleware(Gate, service=service)

    @app.exception_handler(DDNNError)
    async def refused(request: Request, error: DDNNError) -> Response:
        return error_response(
            service.tier, _id(request), error.status, error.code, str(error), retryable=error.retryable
        )

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        code = _CODES.get(error.status_code, "BAD_INPUT")
        sentence = f"{request.method} {request.url.path[:200]}: {error.detail}"
        response = error_response(service.tier, _id(request), error.status_code, code, sentence, retryable=False)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def ours(request: Request, error: Exception) -> Response:
        _log.error("request %s failed", _id(request), exc_info=error)
        sentence = f"an error of ours; the log of this tier tells more under request id {_id(request)}"
        response = error_response(service.tier, _id(request), 500, "INTERNAL", sentence, retryable=False)
        response.headers["x-request-id"] = _id(request)
        return response

    return app


def _id(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))
