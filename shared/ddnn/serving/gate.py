"""What stands before every route, as pure ASGI: request id, admission, counting, and one error body for all.

Under overload this is most of what runs, so the head is read once, as bytes, and a refusal is two ASGI messages.
"""

import asyncio
from collections.abc import Mapping
from hmac import compare_digest
from time import monotonic
from typing import Final

from prometheus_client import Counter
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ddnn.errors import DDNNError, Unauthorized
from ddnn.serving.admission import Admission, arrived
from ddnn.serving.base import Service
from ddnn.serving.caller import CALLER_LEFT, Caller
from ddnn.serving.trace import request_id
from ddnn.wire import encode_error

__all__ = ["Gate", "error_response"]

_RETRY_AFTER_S: Final = 1


def error_response(error: DDNNError, *, tier: str, request: str, retry_after: int = _RETRY_AFTER_S) -> Response:
    """The one error body."""
    headers = {"Retry-After": str(retry_after)} if error.status in (429, 503) else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = encode_error(error, request_id=request, tier=tier)
    return Response(body, error.status, headers, "application/json")


class Gate:
    """Admits inference requests while there is room, lets everything else through, and counts."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        token = service.settings.token
        self._authorization = f"Bearer {token.get_secret_value()}".encode() if token else None
        self._admission = Admission(
            service.settings, service.metrics, room=lambda: service.room, wait_s=lambda: service.wait_s
        )
        self._counted: dict[int, Counter] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        came = arrived(scope)
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        identity = request_id({"x-request-id": headers.get(b"x-request-id", b"").decode("latin-1")})
        scope["state"]["request_id"] = identity
        shown = (b"x-request-id", identity.encode())
        status = 500

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), shown]
            await send(message)

        if not scope["path"].endswith("/infer"):
            await self._app(scope, receive, send_marked)
            return
        self._service.in_flight += 1
        caller = Caller(scope)
        try:
            await self._serve(scope, headers, came, receive, send_marked)
        except DDNNError as error:
            retry_after = self._admission.retry_after()
            response = error_response(error, tier=self._service.tier, request=identity, retry_after=retry_after)
            await response(scope, receive, send_marked)
        except asyncio.CancelledError:
            if not caller.gone:
                raise
            status = CALLER_LEFT  # nobody reads what would be sent
        finally:
            self._service.in_flight -= 1
            self._count(status, monotonic() - came)

    async def _serve(
        self, scope: Scope, headers: Mapping[bytes, bytes], came: float, receive: Receive, send: Send
    ) -> None:
        given = headers.get(b"authorization", b"")
        if self._authorization and not compare_digest(given, self._authorization):
            raise Unauthorized("the bearer token is missing or wrong; expected `Authorization: Bearer TOKEN`")
        seat = self._admission.admit(headers, came)
        try:
            comes = b"transfer-encoding" in headers
            await self._app(scope, seat.counted(receive) if comes else receive, send)
        finally:
            seat.leave()

    def _count(self, status: int, seconds: float) -> None:
        if status not in self._counted:
            self._counted[status] = self._service.metrics.requests.labels(str(status))
        self._counted[status].inc()
        self._service.metrics.request_seconds.observe(seconds)
