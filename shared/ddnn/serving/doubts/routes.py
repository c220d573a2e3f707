"""`/v2/doubts`: the events that a tier keeps, for an admin to list, fetch and delete; their ids, for tiers below."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from ddnn.errors import BadInput, Forbidden, NotFound
from ddnn.serving.doubts.keeper import DOUBTS_PATH, MOST_IDS
from ddnn.serving.doubts.store import Store
from ddnn.serving.http import caller
from ddnn.serving.openapi import doubts_page, errors
from ddnn.serving.policy_routes import authorise, authorise_reading
from ddnn.serving.service import Service

__all__ = ["make_doubt_routes"]

_MOST_LISTED: Final = 200
_HEXADECIMAL: Final = r"^([0-9a-f]{2}){1,256}$"
_Id = Annotated[str, Path(description="Event id, in hexadecimal digits.", json_schema_extra={"pattern": _HEXADECIMAL})]
_LAST: Final = 2**63 - 1


def make_doubt_routes(service: Service) -> APIRouter:
    """Routes over what one tier keeps."""
    routes, keeper = APIRouter(tags=["doubts"]), service.keeper

    @routes.get(f"{DOUBTS_PATH}/new", include_in_schema=False)
    async def new(request: Request) -> Response:
        """Ids of what is kept, for the devices that have seen it."""
        authorise_reading(service, request)
        ids = await keeper.ask(Store.ids, _number(request, "after", 0, _LAST), MOST_IDS)
        return _json({"ids": [id.hex() for id in ids]})

    @routes.get(DOUBTS_PATH, **doubts_page(_MOST_LISTED))
    async def listed(request: Request) -> Response:
        """What is kept, oldest first, with what each exit said; `after` is the number of the last one known."""
        _admin(request)
        most = _number(request, "most", _MOST_LISTED, _MOST_LISTED, least=1)
        rows = await keeper.ask(Store.rows, _number(request, "after", 0, _LAST), most)
        return _json({"doubts": rows, "more": len(rows) == most, **(keeper.document() or {})})

    @routes.get(f"{DOUBTS_PATH}/{{id}}", responses=errors(400, 401, 403, 404, 409, 503))
    async def one(request: Request, id: _Id) -> Response:
        """One event that is kept."""
        _admin(request)
        row = await keeper.ask(Store.row, _id(id))
        if row is None:
            raise NotFound(f"no event {id[:80]!r} is kept here")
        return _json(row)

    @routes.get(f"{DOUBTS_PATH}/{{id}}/view", include_in_schema=False)
    async def view(request: Request, id: _Id) -> Response:
        """What this device saw of it, as a `.npy` file."""
        _admin(request)
        if service.policy.doubts.views != "given":
            raise Forbidden(f"views are {service.policy.doubts.views!r} by the policy; expected doubts.views 'given'")
        found = await keeper.ask(Store.view, _id(id))
        if found is None:
            raise NotFound(f"no view of the event {id[:80]!r} is kept here")
        service.trail.note("view fetched", f"admin {caller(request.scope)}", event=id)
        return Response(found, media_type="application/octet-stream", headers={"cache-control": "no-store"})

    for path, read in (("/new", new), ("", listed), ("/{id}", one), ("/{id}/view", view)):
        routes.add_api_route(f"{DOUBTS_PATH}{path}", read, methods=["HEAD"], include_in_schema=False)

    @routes.delete(DOUBTS_PATH, responses=errors(401, 403, 409, 503))
    async def delete_all(request: Request) -> Response:
        """Delete all that is kept here."""
        return await _deleted(request, None)

    @routes.delete(f"{DOUBTS_PATH}/{{id}}", responses=errors(400, 401, 403, 409, 503))
    async def delete(request: Request, id: _Id) -> Response:
        """Delete one event, if it is here."""
        return await _deleted(request, id)

    async def _deleted(request: Request, id: str | None) -> Response:
        _admin(request)
        gone = await keeper.delete(None if id is None else [_id(id)])
        service.trail.note("doubts deleted", f"admin {caller(request.scope)}", events=gone)
        return _json({"deleted": gone})

    def _admin(request: Request) -> None:
        authorise(service.settings, request.headers.get("authorization"))

    return routes


def _id(text: str) -> bytes:
    if not re.fullmatch(_HEXADECIMAL, text):
        raise BadInput(f"the event is {text[:80]!r}; expected its id in hexadecimal digits")
    return bytes.fromhex(text)


def _number(request: Request, name: str, default: int, most: int, least: int = 0) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise BadInput(f"{name} is {text[:40]!r}; expected a whole number, {least} to {most}")
    return int(text)


def _json(document: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json", headers={"cache-control": "no-store"})
