"""The paths every tier serves; a route parses, calls, returns."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

import ddnn
from ddnn.errors import NotFound, Unavailable
from ddnn.serving import openapi
from ddnn.serving.metrics import CONTENT_TYPE_LATEST
from ddnn.serving.openapi import MODEL, VERSION
from ddnn.serving.policy_routes import make_policy_routes
from ddnn.serving.service import Service

__all__ = ["make_routes"]

Endpoint = TypeVar("Endpoint", bound=Callable[..., Awaitable[Response]])


def make_routes(service: Service) -> APIRouter:
    """Routes over one service."""
    routes = APIRouter()
    page = openapi.infer(service.request_example, token=service.settings.token is not None)

    def known(request: Request) -> None:
        for name, expected in (("model", MODEL), ("version", VERSION)):
            if (found := request.path_params.get(name, expected)) != expected:
                raise NotFound(f"{name} {found[:40]!r} is unknown; expected {expected!r}")

    def read(*paths: str, **documented: Any) -> Callable[[Endpoint], Endpoint]:
        """Serve a GET; its HEAD and the model's path with the version stay out of the page."""

        def register(endpoint: Endpoint) -> Endpoint:
            for path in paths:
                routes.add_api_route(path, endpoint, methods=["GET"], **documented)
                for hidden in (path, path.replace("{model}", "{model}/versions/{version}")):
                    routes.add_api_route(hidden, endpoint, methods=["GET", "HEAD"], include_in_schema=False)
            return endpoint

        return register

    @read("/v2", tags=["protocol"])
    async def server() -> Response:
        """Name, version and extensions of this server."""
        return _json(
            {"name": f"ddnn-{service.tier}", "version": ddnn.__version__, "extensions": ["binary_tensor_data"]}
        )

    @read("/v2/health/live", "/livez", tags=["protocol"])
    async def live() -> Response:
        """The event loop turns."""
        return _json({"live": True})

    @read("/v2/health/ready", "/readyz", tags=["protocol"], responses=openapi.UNAVAILABLE)
    async def ready() -> Response:
        """Sections are loaded, verified and warm, and this tier is not shutting down."""
        if service.draining:
            raise Unavailable("this tier is shutting down")
        return _json({"ready": True})

    @read("/v2/models/{model}/ready", tags=["protocol"], responses=openapi.UNAVAILABLE | openapi.NOT_FOUND)
    async def model_ready(request: Request, model: openapi.ModelName) -> Response:
        """The same, for the model."""
        known(request)
        return await ready()

    @read("/v2/models/{model}", tags=["protocol"], responses=openapi.NOT_FOUND)
    async def model_metadata(request: Request, model: openapi.ModelName) -> Response:
        """Tensors that this tier takes and gives."""
        known(request)
        return _json(
            {
                "name": MODEL,
                "versions": [VERSION],
                "platform": "ddnn_onnxruntime",
                "inputs": [spec.metadata() for spec in service.inputs],
                "outputs": [spec.metadata() for spec in service.outputs],
                "parameters": {
                    "classes": list(service.bundle.manifest.classes),
                    "bundle": service.bundle.fingerprint,
                    "edges": [list(edge.devices) for edge in service.bundle.topology.edges],
                },
            }
        )

    @read("/v2/models/{model}/stats", tags=["protocol"], responses=openapi.NOT_FOUND)
    async def model_stats(request: Request, model: openapi.ModelName) -> Response:
        """Counts since the start."""
        known(request)
        status = service.status()
        counts = {key: status[key] for key in ("exits", "requests", "degraded", "uptime_seconds")}
        return _json({"model_stats": [{"name": MODEL, "version": VERSION, **counts}]})

    @routes.post("/v2/models/{model}/versions/{version}/infer", include_in_schema=False)
    @routes.post("/v2/models/{model}/infer", tags=["protocol"], **page)
    async def infer(request: Request, model: openapi.ModelName) -> Response:
        """Answer events, from here up."""
        # Those for the one model never get here (serving/http.py): this is their page, and the answer to any other.
        known(request)
        raise NotFound(f"{request.url.path[:200]!r} is not where this tier is asked")

    @read("/v2/status", tags=["ddnn"])
    async def status() -> Response:
        """This tier at a glance."""
        return _json(service.status())

    @read("/metrics", tags=["ddnn"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    routes.include_router(make_policy_routes(service))
    return routes


def _json(document: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
