"""What stands before every route, as pure ASGI: request id, admission, counting, and one error body for all."""

from hmac import compare_digest
from time import perf_counter
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ddnn.errors import DDNNError, Overloaded, Unauthorized
from ddnn.service.base import Service
from ddnn.service.trace import request_id
from ddnn.wire import encode_error

__all__ = ["Gate", "error_response"]

_RETRY_AFTER: Final = {429: "1", 503: "1"}


def error_response(error: DDNNError, *, tier: str, request: str) -> Response:
    """The one error body."""
    headers = {"Retry-After": _RETRY_AFTER[error.status]} if error.status in _RETRY_AFTER else {}
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope.setdefault("state", {})["request_id"] = identity = request_id(headers)
        status = 500

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = identity
            await send(message)

        if not scope["path"].endswith("/infer"):
            await self._app(scope, receive, send_marked)
            return
        service, start = self._service, perf_counter()
        service.in_flight += 1
        try:
            self._admit(headers)
            await self._app(scope, receive, send_marked)
        except DDNNError as error:
            response = error_response(error, tier=self._service.tier, request=identity)
            await response(scope, receive, send_marked)
        finally:
            service.in_flight -= 1
            service.metrics.requests.labels(str(status)).inc()
            service.metrics.request_seconds.observe(perf_counter() - start)

    def _admit(self, headers: Headers) -> None:
        service = self._service
        given = headers.get("authorization", "").encode()
        if self._authorization and not compare_digest(given, self._authorization):
            raise Unauthorized("the bearer token is missing or wrong; expected `Authorization: Bearer TOKEN`")
        if service.in_flight > service.room:
            service.metrics.shed.labels("in_flight").inc()
            raise Overloaded(f"{service.in_flight - 1} requests are being worked on already; ask again in a second")
