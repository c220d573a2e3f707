"""The policy over HTTP: read it, write it where it has its source, try another on what was decided, go back."""

import asyncio
import logging
import re
from collections.abc import Mapping
from hmac import compare_digest
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from ddnn.bundle import Bundle
from ddnn.errors import BadInput, Conflict, DeadlineExceeded, Forbidden, OtherBundle, StalePolicy, Unauthorized
from ddnn.policy import Policy
from ddnn.serving.bulletin import BULLETIN_HEADER, FACTS
from ddnn.serving.control import POLICY_PATH, read_document
from ddnn.serving.http import caller, read_body, until_left
from ddnn.serving.openapi import READ_POLICY, ROLL_BACK, write_policy
from ddnn.serving.room.report import TIER_HEADER
from ddnn.serving.service import Service
from ddnn.serving.trial import tried
from ddnn.settings import Settings
from ddnn.types import Exit

__all__ = ["MOST_BYTES", "authorise", "authorise_reading", "check_admin", "make_policy_routes", "matches", "proposed"]
__all__ += ["proposed_to", "refuse_stale"]

_log = logging.getLogger("ddnn")
MOST_BYTES: Final = 256 << 10  #: a policy's document may have
_WAIT: Final = re.compile("wait=([0-9]{1,4})")  #: as a request may prefer (RFC 7240)
_MOST_HELD_S: Final = 600.0
_FLAGS: Final = {"false": False, "0": False, "true": True, "1": True}


def make_policy_routes(service: Service) -> APIRouter:
    """Routes over one service's policy."""
    routes = APIRouter(tags=["policy"])

    async def read(request: Request) -> Response:
        """Thresholds, temperatures, waits and what they were tuned on, as they are in force."""
        authorise_reading(service, request)
        child = _child(service, request)
        if child is not None:
            await _hold(service, request, child)
        policy, etag = service.policy, service.control.etag
        if matches(request.headers.get("if-none-match"), etag, weakly=True):
            response = Response(status_code=304, headers={"ETag": etag})
        else:
            response = _json(policy.model_dump(mode="json"), policy)
        response.headers.update({} if child is None else _bulletin(service))
        return response

    routes.add_api_route(POLICY_PATH, read, methods=["GET"], **READ_POLICY)
    routes.add_api_route(POLICY_PATH, read, methods=["GET", "HEAD"], include_in_schema=False)

    @routes.put(POLICY_PATH, **write_policy(service.policy.model_dump(mode="json")))
    async def write(request: Request) -> Response:
        """Put a policy in force, one version on; everywhere below within seconds. Or try it on recorded decisions."""
        dry_run = _flag(request, "dry_run")
        authorise(service.settings, request.headers.get("authorization"))
        if not dry_run:
            _refuse_below(service)
        try:
            async with asyncio.timeout(service.settings.deadline_ms / 1000):
                body = await read_body(request.receive, dict(request.headers.raw), MOST_BYTES)
        except TimeoutError as error:
            raise DeadlineExceeded("the deadline had passed before the body was there") from error
        policy = proposed_to(service, body)
        refuse_stale(request.headers.get("if-match"), service.policy)
        if not dry_run:
            return await _change(service, policy, caller(request.scope))
        service.trail.note("policy tried", f"admin {caller(request.scope)}", **policy.named())
        return _json(await tried(service, policy), service.policy)

    @routes.post(f"{POLICY_PATH}/rollback", **ROLL_BACK)
    async def roll_back(request: Request) -> Response:
        """Put what was in force before in force again, as a new version."""
        authorise(service.settings, request.headers.get("authorization"))
        _refuse_below(service)
        refuse_stale(request.headers.get("if-match"), service.policy)
        if service.control.trusted:
            instead = "sign the one to come back, `ddnn sign policy.json --version N`, and apply it"
            raise Conflict(f"this tier takes what is signed, and nothing signs this: {instead}")
        previous = service.control.previous
        if previous is None:
            raise Conflict(f"there is nothing to go back to: version {service.policy.version} is the first here")
        previous = previous.model_copy(update={"version": service.policy.version + 1})
        return await _change(service, previous, caller(request.scope))

    return routes


def _child(service: Service, request: Request) -> int | None:
    """Note which tier below asks; None for anything else."""
    if not (header := request.headers.get(TIER_HEADER)) or service.below is None:
        return None
    peer = request.scope.get("state", {}).get("peer")
    if service.identity and not (service.knows(peer) and header == f"{peer.name.tier}/{peer.name.index}"):
        return None
    return service.below.heard(header)


async def _hold(service: Service, request: Request, child: int) -> None:
    """Let a question wait, as it prefers, while it would hear nothing new."""
    known, wait = request.headers.get(BULLETIN_HEADER), _WAIT.fullmatch(request.headers.get("prefer", ""))
    if known and wait and service.below:
        with service.below.waits(child):
            seconds = min(float(wait[1]), _MOST_HELD_S)
            await until_left(request.scope, service.below.bulletin.another(known, seconds))


def _bulletin(service: Service) -> dict[str, str]:
    """What a child is told beside the policy."""
    assert service.below
    bulletin = service.below.bulletin
    told = {FACTS[name]: fact for name, fact in bulletin.facts.items() if fact and name in FACTS}
    return {BULLETIN_HEADER: bulletin.number, **told}


async def _change(service: Service, policy: Policy, who: str) -> Response:
    """Swap, and say so; no event has been decided between what was checked and this."""
    before = service.policy
    _log.info("policy version %d as an admin wrote it, after version %d", policy.version, before.version)
    service.trail.note("policy", f"admin {who}", **policy.named(), before=before.version)
    kept = await service.control.change(policy, "admin")
    note = "" if kept else f"this will not outlive a restart: {service.control.problem}"
    versions = {"version": policy.version, "etag": policy.etag, "previous": before.version}
    return _json({**versions, "kept": kept, "note": note}, policy)


def _refuse_below(service: Service) -> None:
    if service.follower:
        above = ", ".join(service.settings.upstream)
        raise Conflict(f"this {service.tier} follows the policy of {above}; write it there, or where that one follows")


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "false").lower()
    if value not in _FLAGS:
        raise BadInput(f"{name} is {value[:20]!r}; expected true or false")
    return _FLAGS[value]


def _json(document: Mapping[str, Any], policy: Policy) -> Response:
    return Response(orjson.dumps(document), headers={"ETag": policy.etag}, media_type="application/json")


def authorise(settings: Settings, authorization: str | None) -> None:
    """Raise `Unauthorized` or `Forbidden` unless the header is `Bearer ` and the admin token."""
    if settings.admin_token is None:
        raise Forbidden("this tier has no admin token; set DDNN_ADMIN_TOKEN where its policy shall be written")
    check_admin(settings.admin_token.get_secret_value(), authorization)


def check_admin(token: str, authorization: str | None) -> str:
    """The admin token, where the header is `Bearer ` and it; raise `Unauthorized` or `Forbidden`."""
    if not authorization:
        raise Unauthorized("the admin token is missing; expected `Authorization: Bearer ADMIN_TOKEN`")
    if not compare_digest(authorization.encode(), f"Bearer {token}".encode()):
        raise Forbidden("this is not the admin token; expected the tier's DDNN_ADMIN_TOKEN after `Bearer `")
    return token


def authorise_reading(service: Service, request: Request) -> None:
    """Raise `Unauthorized` unless a request may read figures: by any of the tier's tokens, or as a tier below.

    Without a metrics token, whatever reaches the tier may.
    """
    settings, given = service.settings, request.headers.get("authorization", "").encode()
    if settings.metrics_token is None or service.knows(request.scope.get("state", {}).get("peer")):
        return
    tokens = filter(None, (settings.metrics_token, settings.token, settings.admin_token))
    if not any([compare_digest(given, f"Bearer {token.get_secret_value()}".encode()) for token in tokens]):
        raise Unauthorized("the metrics token is missing or wrong; expected `Authorization: Bearer METRICS_TOKEN`")


def proposed(body: bytes, bundle: Bundle, current: Policy, *, numbered: bool = False) -> Policy:
    """The policy in `body`, one version after `current`, or `numbered` itself; raise `BadInput` or `OtherBundle`."""
    document = read_document(body)
    policy = Policy.of(document if numbered else {**document, "version": current.version + 1})
    if not numbered:  # nothing signs another version
        policy = policy.model_copy(update={"signature": None})
    if policy.bundle != bundle.fingerprint:
        raise OtherBundle(
            f"the policy belongs to the bundle {policy.bundle[:12]!r}; this tier serves {bundle.fingerprint[:12]!r}"
        )
    _refuse_missing(document, bundle.topology.exits)
    if (most := max(policy.live, default=0)) > (devices := len(bundle.topology.devices)):
        raise BadInput(f"live has the count {most}; this network has {devices} devices")
    _refuse_uncalibrated(policy, bundle, current)
    return policy


def proposed_to(service: Service, body: bytes) -> Policy:
    """The policy in `body`, which might come into force at this tier; raise what refuses it."""
    policy = proposed(body, service.bundle, service.policy, numbered=service.control.trusted is not None)
    service.control.check(policy)
    service.control.refuse_older(policy)
    return policy


def matches(header: str | None, etag: str, *, weakly: bool = False) -> bool:
    """Whether one of a header's entity tags is `etag`; `*` is any (RFC 9110, 8.8.3.2 and 13.1)."""
    tags = [tag.strip() for tag in (header or "").split(",")]
    return etag in tags or "*" in tags or (weakly and f"W/{etag}" in tags)


def refuse_stale(if_match: str | None, current: Policy) -> None:
    """Raise `StalePolicy` unless `If-Match` names the policy in force; without the header, any will do."""
    if if_match is not None and not matches(if_match, current.etag):
        raise StalePolicy(f"If-Match is {if_match[:60]}; the policy in force is {current.etag}: read it again")


def _refuse_missing(document: dict[str, Any], exits: tuple[Exit, ...]) -> None:
    """A key left out must not become a default that was not chosen."""
    parts = {"": document} | {f"live.{count}.": part for count, part in document.get("live", {}).items()}
    for where, part in parts.items():
        for key, wanted in (("thresholds", exits[:-1]), ("temperatures", exits)):
            values = part.get(key, {})
            for exit in wanted:
                if exit not in values:
                    names = ", ".join(exit.value for exit in wanted)
                    raise BadInput(f"{where}{key} has no {exit.value!r}; expected a value for each of {names}")


def _refuse_uncalibrated(policy: Policy, bundle: Bundle, current: Policy) -> None:
    """Thresholds found for one criterion mean nothing to another."""
    if policy.criterion == "agreement" and all(len(edge.devices) < 2 for edge in bundle.topology.edges):
        raise BadInput("criterion is 'agreement'; this network has no edge with two devices that could agree")
    tuned_on = (policy.tuned or {}).get("criterion", policy.criterion)
    carried = policy.tuned is None or policy.tuned == current.tuned
    if tuned_on != policy.criterion or (policy.criterion != current.criterion and carried):
        raise BadInput(
            f"criterion is {policy.criterion!r}; the thresholds were calibrated for"
            f" {current.criterion if carried else tuned_on!r}: `ddnn tune --criterion {policy.criterion}` finds others"
        )
