"""The policy over HTTP: read it, write it where it has its source, try another on what was decided, go back."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from ddnn.errors import BadInput, Conflict, DeadlineExceeded
from ddnn.policy import Policy
from ddnn.serving import openapi
from ddnn.serving.base import Service
from ddnn.serving.body import read_bytes
from ddnn.serving.follow import POLICY_PATH
from ddnn.serving.ledger_replay import replay
from ddnn.serving.ledger_words import compare, merge
from ddnn.serving.policy_writes import MOST_BYTES, authorise, matches, proposed, refuse_stale
from ddnn.types import Tier

__all__ = ["make_policy_routes"]

_log = logging.getLogger("ddnn")
_FLAGS: Final = {"": False, "false": False, "0": False, "true": True, "1": True}


def make_policy_routes(service: Service) -> APIRouter:
    """Routes over one service's policy."""
    routes = APIRouter(tags=["policy"])

    async def read(request: Request) -> Response:
        """Thresholds, temperatures, waits and what they were tuned on, as they are in force."""
        policy, etag = service.policy, service.in_force.etag
        if matches(request.headers.get("if-none-match"), etag, weakly=True):
            return Response(status_code=304, headers={"ETag": etag})
        return _json(policy.model_dump(mode="json"), policy)

    routes.add_api_route(POLICY_PATH, read, methods=["GET"], **openapi.get_policy())
    routes.add_api_route(POLICY_PATH, read, methods=["GET", "HEAD"], include_in_schema=False)

    @routes.put(POLICY_PATH, **openapi.put_policy(service.policy.model_dump(mode="json")))
    async def write(request: Request) -> Response:
        """Put a policy in force, one version on; everywhere below within seconds. Or try it on recorded decisions."""
        dry_run = _flag(request, "dry_run")
        authorise(service.settings, request.headers.get("authorization"))
        if not dry_run:
            _refuse_below(service)
        try:
            async with asyncio.timeout(service.settings.deadline_ms / 1000):
                body = await read_bytes(request, MOST_BYTES)
        except TimeoutError as error:
            raise DeadlineExceeded("the deadline had passed before the body was there") from error
        policy = proposed(body, service.bundle, service.policy)
        refuse_stale(request.headers.get("if-match"), service.policy)
        return _json(_tried(service, policy), service.policy) if dry_run else await _change(service, policy)

    @routes.post(f"{POLICY_PATH}/rollback", **openapi.roll_back())
    async def roll_back(request: Request) -> Response:
        """Put what was in force before in force again, as a new version."""
        authorise(service.settings, request.headers.get("authorization"))
        _refuse_below(service)
        refuse_stale(request.headers.get("if-match"), service.policy)
        previous = service.in_force.previous
        if previous is None:
            raise Conflict(f"there is nothing to go back to: version {service.policy.version} is the first here")
        return await _change(service, previous.model_copy(update={"version": service.policy.version + 1}))

    return routes


async def _change(service: Service, policy: Policy) -> Response:
    """Swap, and say so; no event has been decided between what was checked and this."""
    before = service.policy
    _log.info("policy version %d as an admin wrote it, after version %d", policy.version, before.version)
    kept = await service.change_policy(policy, "admin")
    document = {
        "version": policy.version,
        "etag": policy.etag,
        "previous": before.version,
        "kept": kept,
        "note": "" if kept else f"this will not outlive a restart: {service.state.problem}",
    }
    return _json(document, policy)


def _tried(service: Service, policy: Policy) -> dict[str, Any]:
    """What `policy` would have made of the decisions recorded here."""
    decisions = [*service.ledger] if service.ledger is not None else []
    told = {"tier": service.tier, "index": service.settings.index, "version": service.policy.version, "dry_run": True}
    if service.ledger is None:
        says = f"this {service.tier} does not see the events that are decided elsewhere; ask the edges"
        return {**told, **merge([]), "says": says}
    if not decisions:
        return {**told, **merge([])}
    topology, exits = service.bundle.topology, service.own_exits
    edge = service.settings.index if service.tier is Tier.EDGE else topology.edge_of(service.settings.index)
    outcomes = [replay(decisions, each, topology, exits, edge) for each in (service.policy, policy)]
    return {**told, **compare(*outcomes)}


def _refuse_below(service: Service) -> None:
    if service.follower:
        above = ", ".join(service.settings.upstream)
        raise Conflict(f"this {service.tier} follows the policy of {above}; write it there, or where that one follows")


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "").lower()
    if value not in _FLAGS:
        raise BadInput(f"{name} is {value[:20]!r}; expected true or false")
    return _FLAGS[value]


def _json(document: Mapping[str, Any], policy: Policy) -> Response:
    return Response(orjson.dumps(document), headers={"ETag": policy.etag}, media_type="application/json")
