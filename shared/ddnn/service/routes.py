"""The paths every tier serves; a route parses, calls, returns."""

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

import ddnn
from ddnn.answers import answers_to_outputs
from ddnn.errors import DeadlineExceeded, NotFound, Unavailable
from ddnn.service import openapi
from ddnn.service.base import Service
from ddnn.service.body import read_body
from ddnn.service.case import Terms
from ddnn.service.metrics import CONTENT_TYPE_LATEST
from ddnn.service.tensors import answer_tensors
from ddnn.service.terms import read_terms
from ddnn.tier import Tier
from ddnn.wire import HEADER_LENGTH, decode_request, encode_response

__all__ = ["make_routes"]


def make_routes(service: Service) -> APIRouter:
    """Routes over one service."""
    routes = APIRouter()
    outputs = answer_tensors(service.classes, service.devices, need_features=service.tier is Tier.EDGE)

    def known(model: str) -> None:
        if model != openapi.MODEL:
            raise NotFound(f"model {model[:40]!r} is unknown; expected {openapi.MODEL!r}")

    @routes.get("/v2", tags=["protocol"])
    async def server() -> Response:
        """Name, version and extensions of this server."""
        return _json(
            {"name": f"ddnn-{service.tier}", "version": ddnn.__version__, "extensions": ["binary_tensor_data"]}
        )

    @routes.get("/v2/health/live", tags=["protocol"])
    @routes.get("/livez", tags=["protocol"])
    async def live() -> Response:
        """The event loop turns."""
        return _json({"live": True})

    @routes.get("/v2/health/ready", tags=["protocol"], responses=openapi.UNAVAILABLE)
    @routes.get("/readyz", tags=["protocol"], responses=openapi.UNAVAILABLE)
    async def ready() -> Response:
        """Sections are loaded, verified and warm, and this tier is not shutting down."""
        if service.draining:
            raise Unavailable("this tier is shutting down")
        return _json({"ready": True})

    @routes.get("/v2/models/{model}/ready", tags=["protocol"], responses=openapi.UNAVAILABLE | openapi.NOT_FOUND)
    async def model_ready(model: openapi.ModelName) -> Response:
        """The same, for the model."""
        known(model)
        return await ready()

    @routes.get("/v2/models/{model}", tags=["protocol"], responses=openapi.NOT_FOUND)
    async def model_metadata(model: openapi.ModelName) -> Response:
        """Tensors that this tier takes and gives."""
        known(model)
        return _json(
            {
                "name": openapi.MODEL,
                "versions": ["1"],
                "platform": "ddnn_onnxruntime",
                "inputs": [spec.metadata() for spec in service.inputs],
                "outputs": [spec.metadata() for spec in outputs],
                "parameters": {"classes": list(service.bundle.manifest.classes), "bundle": service.bundle.fingerprint},
            }
        )

    @routes.get("/v2/models/{model}/stats", tags=["protocol"], responses=openapi.NOT_FOUND)
    async def model_stats(model: openapi.ModelName) -> Response:
        """Counts since the start."""
        known(model)
        status = service.status()
        counts = {key: status[key] for key in ("exits", "requests", "degraded", "uptime_seconds")}
        return _json({"model_stats": [{"name": openapi.MODEL, "version": "1", **counts}]})

    @routes.post("/v2/models/{model}/infer", tags=["protocol"], **openapi.infer(service.request_example))
    async def infer(request: Request, model: openapi.ModelName) -> Response:
        """Answer events, from here up."""
        arrived = asyncio.get_running_loop().time()
        start = perf_counter()
        known(model)
        body = await read_body(request, service.settings.max_body_bytes)
        asked = decode_request(body, request.headers.get(HEADER_LENGTH))
        terms = read_terms(
            asked,
            request.headers,
            arrived=arrived,
            default_ms=service.settings.deadline_ms,
            bundle=service.bundle.fingerprint,
            request_id=request.state.request_id,
        )
        decoded = perf_counter()
        if terms.left() <= 0:
            service.metrics.late.labels("answer").inc()
            raise DeadlineExceeded("the deadline had passed before there was anything to answer with")
        answers = await service.infer(asked, terms)
        answered = perf_counter()
        tensors = answers_to_outputs(answers, need_features=service.tier is Tier.EDGE)
        content, headers = encode_response(tensors, asked)
        terms.timings += [("decode", decoded - start), ("answer", answered - decoded)]
        for stage in terms.timings:
            service.metrics.stage(*stage)
        return Response(content, headers={**headers, "Server-Timing": _server_timing(service.tier, terms)})

    @routes.post("/v2/models/{model}/versions/{version}/infer", include_in_schema=False)
    async def infer_version(request: Request, model: openapi.ModelName, version: str) -> Response:
        if version != "1":
            raise NotFound(f"version {version[:40]!r} is unknown; expected '1'")
        return await infer(request, model)

    @routes.get("/v2/status", tags=["ddnn"])
    async def status() -> Response:
        """This tier at a glance."""
        return _json(service.status())

    @routes.get("/v2/policy", tags=["ddnn"])
    async def policy() -> Response:
        """Thresholds, temperatures and waits in force."""
        return _json(service.policy.model_dump(mode="json"), {"ETag": f'"{service.policy.version}"'})

    @routes.get("/metrics", tags=["ddnn"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return routes


def _json(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), headers=headers, media_type="application/json")


def _server_timing(tier: Tier, terms: Terms) -> str:
    own = [f"{tier}-{stage};dur={seconds * 1000:.3f}" for stage, seconds in [*terms.timings, *terms.sections]]
    return ", ".join([*own, *terms.upper_timings])
