"""The routes of the control room, the same wherever it is served; `admit` raises unless a request may read figures."""

from collections.abc import Callable
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from sse_starlette import EventSourceResponse
from starlette.responses import Response

from ddnn.errors import BadInput
from ddnn.serving.room.history import FIGURES
from ddnn.serving.room.page import HEADERS, asset, page
from ddnn.serving.room.room import Room

__all__ = ["make_room_routes"]

_PING_S: Final = 15
_MOST_HOURS: Final = 24
_UNREAD_S: Final = 10.0  #: after which a reader that takes nothing is dropped


def make_room_routes(room: Room, admit: Callable[[Request], None], **facts: Any) -> APIRouter:
    """The page at `/` with these facts; what it shows is for whoever may read figures, its files are for all."""
    routes = APIRouter(include_in_schema=False)

    @routes.api_route("/", methods=["GET", "HEAD"])
    async def shown() -> Response:
        return page(**facts)

    @routes.get("/room/state")
    async def state(request: Request) -> Response:
        admit(request)
        content = orjson.dumps(await room.now(), option=orjson.OPT_NON_STR_KEYS)
        return Response(content, headers={**HEADERS, "Content-Type": "application/json", "Cache-Control": "no-store"})

    @routes.get("/room/history")
    async def history(request: Request) -> Response:
        admit(request)
        hours = request.query_params.get("hours", "1")
        if not (hours.isascii() and hours.isdigit() and 1 <= int(hours) <= _MOST_HOURS):
            raise BadInput(f"hours is {hours[:20]!r}; expected 1 to {_MOST_HOURS}")
        found = {"figures": FIGURES, "samples": room.history.latest(int(hours))}
        return Response(orjson.dumps(found), headers={**HEADERS, "Content-Type": "application/json"})

    @routes.get("/room/stream")
    async def stream(request: Request) -> Response:
        admit(request)
        room.streams.refuse_more()  # before a response has begun
        return EventSourceResponse(room.messages(), ping=_PING_S, send_timeout=_UNREAD_S, headers=HEADERS)

    @routes.api_route("/room/files/{name}", methods=["GET", "HEAD"])
    async def file(request: Request, name: str) -> Response:
        return asset(name, request.headers.get("if-none-match"))

    return routes
