"""The control room of a fleet of processes on this machine: a server that outlives a killed cloud, with switches.

It listens on loopback, answers to names of loopback alone, and takes switches and policies from whoever has the admin
token.
"""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import orjson
import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import Response

from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.policy import Policy
from ddnn.serving.control import POLICY_PATH, read_document
from ddnn.serving.http import read_body
from ddnn.serving.local import make_local
from ddnn.serving.policy_routes import MOST_BYTES, check_admin
from ddnn.serving.room.board import Board
from ddnn.serving.room.history import History
from ddnn.serving.room.page import HEADERS
from ddnn.serving.room.report import REPORTS_PATH, Report, key
from ddnn.serving.room.room import Room
from ddnn.serving.room.routes import make_room_routes
from ddnn.types import Tier
from ddnn.uplink import NoReply
from ddnn.uplink.transport import OverAiohttp

__all__ = ["DemoServer", "Shown", "Switched"]

_PATIENCE_S: Final = 1.0
_MOST: Final = 1 << 20
_PASSED: Final = ("authorization", "if-match", "if-none-match", "content-type")


class Shown(Protocol):
    """One tier of the fleet."""

    @property
    def tier(self) -> Tier: ...
    @property
    def index(self) -> int: ...
    @property
    def url(self) -> str: ...


class Switched(Protocol):
    """A fleet that can be switched, from any thread."""

    @property
    def bundle(self) -> Bundle: ...
    def tiers(self) -> Mapping[str, tuple[Shown, str]]:
        """Each by name, with its state: `alive`, `gone` or `paused`."""

    def switches(self) -> Mapping[str, list[str]]:
        """What may be done with each tier, or the link above it, now."""

    def switch(self, name: str, what: str) -> None:
        """Do it; raise `BadInput`."""

    def try_out(self, policy: Policy, admin_token: str) -> dict[str, Any]:
        """What a policy would have made of the decisions recorded here; raise `DDNNError`."""


class DemoServer:
    """Serves the room of a fleet from a thread, from construction to `close`."""

    def __init__(
        self,
        fleet: Switched,
        sock: socket.socket,
        *,
        admin_token: str,
        token: str | None,
        trusted: Any = False,
        state: Path | None = None,
    ) -> None:
        """`token` reads the tiers' figures; `trusted`: see `ddnn.connections`; `state`: a folder for its history."""
        self._fleet, self._admin_token = fleet, admin_token
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._trusted = trusted
        self._transport: OverAiohttp | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.board = Board(fleet.bundle)
        history = History(state / "demo-room.sqlite" if state else None, fleet.bundle.fingerprint)
        self.room = Room(self.board, self._look, {"demo": True, "views": True}, history)
        config = uvicorn.Config(self._app(), log_config=None, access_log=False, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([sock],), name="control room", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it, and the pages that look."""
        if self._loop:
            self._loop.call_soon_threadsafe(self.room.streams.close)  # the server waits for them
        self._server.should_exit = True
        self._thread.join(5)

    async def _look(self) -> None:
        fleet = self._fleet.tiers()
        found = await asyncio.gather(*(self._ask(shown) for shown, state in fleet.values() if state == "alive"))
        reports = {report.key: report for report in found if report}
        for shown, state in fleet.values():
            name = key(shown.tier, shown.index)
            if state == "alive":
                report = reports.get(name)
                state = "unseen" if report is None else "draining" if report.draining else "alive"
            self.board.states[name] = state
        for report in reports.values():
            self.room.take(report)
        named = {key(shown.tier, shown.index): name for name, (shown, _) in fleet.items()}
        switches = self._fleet.switches()
        self.room.more = {"switches": {name: [tier, switches[tier]] for name, tier in named.items()}}

    async def _ask(self, shown: Shown) -> Report | None:
        name = key(shown.tier, shown.index)
        views = self.board.viewed(name) if self.room.watched and shown.tier is Tier.DEVICE else None
        query = f"?after={self.board.number_of(name)}" + ("" if views is None else f"&views={views}")
        try:
            async with asyncio.timeout(_PATIENCE_S):
                reply = await self._exchange("GET", f"{shown.url}{REPORTS_PATH}{query}", self._headers)
            return Report.model_validate_json(reply.body) if reply.status == 200 else None
        except (TimeoutError, NoReply, ValueError):
            return None

    async def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Any:
        if self._transport is None:  # wants a running loop
            self._transport = OverAiohttp(connections=64, keepalive_s=4.0, trusted=self._trusted)
        return await self._transport.exchange(
            method, url, headers=headers, body=body, connect_s=_PATIENCE_S, most=_MOST
        )

    def _app(self) -> FastAPI:
        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            self._loop = asyncio.get_running_loop()
            self.room.start()
            yield
            await self.room.stop()
            if self._transport:
                await self._transport.aclose()

        app = make_local("room", lifespan)
        manifest = self._fleet.bundle.manifest
        facts = {"name": manifest.name, "fingerprint": manifest.fingerprint[:12]}
        app.include_router(make_room_routes(self.room, lambda request: None, **facts, api=False))
        self._add_switches(app)

        return app

    def _add_switches(self, app: FastAPI) -> None:
        def admin(request: Request) -> str:
            return check_admin(self._admin_token, request.headers.get("authorization"))

        @app.post("/room/switch")
        async def switch(request: Request) -> Response:
            admin(request)
            asked = _object(await read_body(request.receive, dict(request.headers.raw), 1024))
            name, what = str(asked.get("name")), str(asked.get("what"))
            await asyncio.to_thread(self._fleet.switch, name, what)
            return Response(status_code=204)

        @app.put("/room/trial")
        async def trial(request: Request) -> Response:
            token = admin(request)
            body = await read_body(request.receive, dict(request.headers.raw), MOST_BYTES)
            found = await asyncio.to_thread(self._fleet.try_out, Policy.of(read_document(body)), token)
            return Response(orjson.dumps(found), media_type="application/json", headers=HEADERS)

        @app.api_route(POLICY_PATH, methods=["GET", "PUT"])
        @app.api_route(f"{POLICY_PATH}/rollback", methods=["POST"])
        async def policy(request: Request) -> Response:
            cloud = next(shown for shown, _ in self._fleet.tiers().values() if shown.tier is Tier.CLOUD)
            headers = {name: value for name in _PASSED if (value := request.headers.get(name))}
            body = await read_body(request.receive, dict(request.headers.raw), MOST_BYTES)
            if request.method == "GET":
                headers |= self._headers
            reply = await self._exchange(request.method, f"{cloud.url}{request.url.path}", headers, body)
            passed = {name: value for name in ("etag", "content-type") if (value := reply.headers.get(name))}
            return Response(reply.body, reply.status, passed)


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"the body is not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise BadInput("the body is not a JSON object")
    return document
