"""`/v2/rollout`: the plan for the tiers below, the files of its bundle, and what an admin may do."""

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from ddnn.errors import BadInput, Conflict
from ddnn.seal import Frozen, first_problem
from ddnn.serving.http import caller, read_body
from ddnn.serving.openapi import errors
from ddnn.serving.policy_routes import authorise, authorise_reading
from ddnn.serving.rollout.plan import PLAN_PATH, Plan
from ddnn.serving.rollout.rollout import Rollout
from ddnn.serving.room.report import TIER_HEADER
from ddnn.serving.service import Service

__all__ = ["make_rollout_routes"]

_MOST_ASKED = 10_000  #: bytes of a request that begins one


class _Asked(Frozen):
    """What an admin asks for."""

    bundle: str
    share: float = 0.1
    events: int = 100


def make_rollout_routes(service: Service, rollout: Rollout) -> APIRouter:
    """Routes over one tier's rollout."""
    routes = APIRouter(tags=["rollout"])

    async def plan(request: Request) -> Response:
        """What is rolled out, how far it is, and what the tier has."""
        authorise_reading(service, request)
        header, peer = request.headers.get(TIER_HEADER), request.scope.get("state", {}).get("peer")
        named = not service.identity or (service.knows(peer) and header == f"{peer.name.tier}/{peer.name.index}")
        if header and service.below and named and (child := service.below.heard(header)) is not None:
            rollout.heard(child, request.headers)
        return _json({"plan": rollout.plan.model_dump(mode="json"), **rollout.document()})

    async def read(request: Request, bundle: str, name: str) -> Response:
        """One file of a bundle that this tier holds for those below it."""
        authorise_reading(service, request)
        return Response(rollout.opened_store().get(bundle, name), media_type="application/octet-stream")

    # Files are for tiers and for `ddnn rollout`: the page leaves them out.
    file_path = f"{PLAN_PATH}/bundles/{{bundle}}/{{name}}"
    routes.add_api_route(PLAN_PATH, plan, methods=["GET"], responses=errors(401))
    for path, endpoint in ((PLAN_PATH, plan), (file_path, read)):
        routes.add_api_route(path, endpoint, methods=["GET", "HEAD"], include_in_schema=False)

    @routes.put(file_path, include_in_schema=False)
    async def write(request: Request, bundle: str, name: str) -> Response:
        """Give the cloud a file of a bundle, the manifest first."""
        _admin(request)
        body = await read_body(request.receive, dict(request.headers.raw), rollout.room_for(bundle, name))
        rollout.take(bundle, name, body)
        return _json({"bundle": bundle, "file": name, "bytes": len(body)})

    asked = {"required": True, "content": {"application/json": {"schema": _Asked.model_json_schema()}}}
    extra: dict[str, Any] = {"requestBody": asked, "security": [{"admin": []}]}

    @routes.post(PLAN_PATH, responses=errors(400, 401, 403, 409, 413, 415), openapi_extra=extra)
    async def begin(request: Request) -> Response:
        """Roll out a bundle whose files are here: pulled and proved by all tiers, a share of the events first."""
        _admin(request)
        body = await read_body(request.receive, dict(request.headers.raw), _MOST_ASKED)
        try:
            asked = _Asked.model_validate_json(body)
            return _did(request, rollout.begin(asked.bundle, asked.share, asked.events))
        except ValidationError as error:
            raise BadInput(f"rollout: {first_problem(error, 'the request')}") from error

    @routes.post(f"{PLAN_PATH}/abort", responses=errors(401, 403, 409))
    async def abort(request: Request) -> Response:
        """Take back what is being rolled out."""
        _admin(request)
        return _did(request, rollout.end("an admin ended it"))

    @routes.post(f"{PLAN_PATH}/back", responses=errors(401, 403, 409))
    async def back(request: Request) -> Response:
        """Roll out what was served before."""
        _admin(request)
        return _did(request, rollout.back())

    def _admin(request: Request) -> None:
        authorise(service.settings, request.headers.get("authorization"))
        if service.uplink:
            above = ", ".join(service.settings.upstream)
            raise Conflict(f"this {service.tier} follows the rollout of {above}; begin it there")
        rollout.opened_store()

    def _did(request: Request, plan: Plan) -> Response:
        service.trail.note("rollout", f"admin {caller(request.scope)}", stage=plan.stage, bundle=plan.bundle)
        return _json({"plan": plan.model_dump(mode="json"), **rollout.document()})

    return routes


def _json(document: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
