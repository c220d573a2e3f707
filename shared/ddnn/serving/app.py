"""The application of a tier: its routes, each of which parses, calls and returns, and one error body."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match

import ddnn
from ddnn.errors import BadInput, DDNNError, MethodNotAllowed, NotFound, TooLarge, Unavailable
from ddnn.serving.api_page import make_api_page
from ddnn.serving.doubts.routes import make_doubt_routes
from ddnn.serving.http import App, caller, error_of_ours, read_body, refusal, refuse_unknown
from ddnn.serving.metrics import CONTENT_TYPE_LATEST
from ddnn.serving.openapi import MODEL, MOST_OF_INDEX, REPOSITORY, VERSION, ModelName, errors, infer, ready_alone
from ddnn.serving.policy_routes import authorise_reading, make_policy_routes
from ddnn.serving.rollout.rollout import Make, Rollout
from ddnn.serving.rollout.routes import make_rollout_routes
from ddnn.serving.room.routes import make_room_routes
from ddnn.serving.room.tier import make_report_routes, make_trial_routes, open_room
from ddnn.serving.service import Service
from ddnn.types import Tier

__all__ = ["make_app"]

_log = logging.getLogger("ddnn")
_ERRORS: dict[int, type[DDNNError]] = {404: NotFound, 405: MethodNotAllowed, 413: TooLarge}
Endpoint = TypeVar("Endpoint", bound=Callable[..., Awaitable[Response]])


def make_app(service: Service, make: Make) -> FastAPI:
    """Wrap a service, already loaded and self-tested, in FastAPI, behind the middleware that serves inference.

    `make` loads and tests that of another bundle beside it, where one is rolled out.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        _log.info("%s %d ready: bundle %s", service.tier, service.settings.index, service.bundle.fingerprint[:12])
        service.start()
        rollout.start()
        if room:
            room.start()
        yield
        service.draining = True
        await rollout.stop()
        if room:
            await room.stop()
        await service.close()
        _log.info("%s %d drained", service.tier, service.settings.index)

    text = "One tier of a distributed neural network, by the Open Inference Protocol v2."
    given = {"version": ddnn.__version__, "description": text, "docs_url": None, "redoc_url": None}
    app = App(service, title=f"ddnn {service.tier}", lifespan=lifespan, **given)
    rollout = app.state.rollout = Rollout(service, app.faces, make)
    routers = [_protocol(service), _own(service), make_policy_routes(service), make_report_routes(service)]
    routers += [make_rollout_routes(service, rollout), make_api_page(app.title)]
    routers.append(make_doubt_routes(service))
    room = None
    if service.tier is Tier.CLOUD and service.settings.room:
        room, trials = open_room(service)
        manifest = service.bundle.manifest
        facts = {"name": manifest.name, "fingerprint": manifest.fingerprint[:12]}
        routers.append(make_room_routes(room, partial(authorise_reading, service), **facts, api=True))
        routers.append(make_trial_routes(service, trials))
    app.state.room = room
    for router in routers:
        app.include_router(router)

    def respond(request: Request, error: DDNNError, headers: Mapping[str, str] | None = None) -> Response:
        service.trail.refused(error.code, caller(request.scope))
        head, body = refusal(error, tier=service.tier, request=request.scope.get("state", {}).get("request_id", ""))
        response = Response(body, error.status, headers)
        response.raw_headers = [*response.raw_headers, *(pair for pair in head if pair[0] != b"content-length")]
        return response

    @app.exception_handler(DDNNError)
    async def refused(request: Request, error: DDNNError) -> Response:
        return respond(request, error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        kind, headers = _ERRORS.get(error.status_code, BadInput), dict(error.headers or {})
        if kind is MethodNotAllowed:  # of all routes of the path: the framework names those of the first
            headers["Allow"] = ", ".join(sorted(_methods(routers, request)))
        return respond(request, kind(f"{request.method} {request.url.path[:200]}: {error.detail}"), headers)

    @app.exception_handler(Exception)
    async def ours(request: Request, error: Exception) -> Response:
        return respond(request, error_of_ours(error, request.scope.get("state", {}).get("request_id", "")))

    return app


def _methods(routers: Iterable[APIRouter], request: Request) -> set[str]:
    """The methods that a request's path takes."""
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    mine = [route.methods or () for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return {method for methods in mine for method in methods}


def _read(routes: APIRouter, *paths: str, **documented: Any) -> Callable[[Endpoint], Endpoint]:
    """Serve a GET; its HEAD and the model's path with the version stay out of the page."""

    def register(endpoint: Endpoint) -> Endpoint:
        for path in paths:
            routes.add_api_route(path, endpoint, methods=["GET"], **documented)
            for hidden in dict.fromkeys((path, path.replace("{model}", "{model}/versions/{version}"))):
                routes.add_api_route(hidden, endpoint, methods=["GET", "HEAD"], include_in_schema=False)
        return endpoint

    return register


def _protocol(service: Service) -> APIRouter:
    routes = APIRouter(tags=["protocol"])

    @_read(routes, "/v2")
    async def server() -> Response:
        """Name, version and extensions of this server."""
        return _json(
            {"name": f"ddnn-{service.tier}", "version": ddnn.__version__, "extensions": ["binary_tensor_data"]}
        )

    @_read(routes, "/v2/health/live", "/livez")
    async def live() -> Response:
        """The event loop turns."""
        return _json({"live": True})

    @_read(routes, "/v2/health/ready", "/readyz", responses=errors(503))
    async def ready() -> Response:
        """Sections are loaded, verified and warm, and this tier is not shutting down."""
        if service.draining:
            raise Unavailable("this tier is shutting down")
        return _json({"ready": True})

    @_read(routes, "/v2/models")
    async def models() -> Response:
        """Names of the models: the one there is."""
        return _json({"models": [MODEL]})

    @routes.post("/v2/repository/index", **REPOSITORY)
    async def index(request: Request) -> Response:
        """The model repository, as Triton's clients ask for it: the one model, with its state."""
        alone = ready_alone(await read_body(request.receive, dict(request.headers.raw), MOST_OF_INDEX))
        state = "UNAVAILABLE" if service.draining else "READY"
        reason = "this tier is shutting down" if service.draining else ""
        models = [{"name": MODEL, "version": VERSION, "state": state, "reason": reason}]
        return _json([] if alone and service.draining else models)

    @_read(routes, "/v2/models/{model}/ready", responses=errors(503, 404))
    async def model_ready(request: Request, model: ModelName) -> Response:
        """The same, for the model."""
        refuse_unknown(**request.path_params)
        return await ready()

    @_read(routes, "/v2/models/{model}", responses=errors(404))
    async def model_metadata(request: Request, model: ModelName) -> Response:
        """Tensors that this tier takes and gives."""
        refuse_unknown(**request.path_params)
        return _json(service.metadata())

    @_read(routes, "/v2/models/{model}/stats", responses=errors(401, 404))
    async def model_stats(request: Request, model: ModelName) -> Response:
        """Counts since the start."""
        refuse_unknown(**request.path_params)
        authorise_reading(service, request)
        status = service.status()
        counts = {key: status[key] for key in ("exits", "requests", "degraded", "uptime_seconds")}
        return _json({"model_stats": [{"name": MODEL, "version": VERSION, **counts}]})

    @routes.post("/v2/models/{model}/infer", **_infer(service))
    async def answer(request: Request, model: ModelName) -> Response:
        """Answer events, from here up."""
        # The middleware (serving/http.py) answers before: this is the page of it.
        raise NotFound(f"{request.url.path[:200]!r} is not where this tier is asked")

    return routes


def _infer(service: Service) -> dict[str, Any]:
    token = service.settings.token is not None
    return infer(service.request_example, token=token, pictures=service.takes_pictures)


def _own(service: Service) -> APIRouter:
    routes = APIRouter(tags=["ddnn"])

    @_read(routes, "/v2/status", responses=errors(401))
    async def status(request: Request) -> Response:
        """This tier at a glance."""
        authorise_reading(service, request)
        return _json(service.status())

    @_read(routes, "/metrics", response_class=PlainTextResponse, responses=errors(401))
    async def metrics(request: Request) -> Response:
        """Prometheus metrics."""
        authorise_reading(service, request)
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return routes


def _json(document: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
