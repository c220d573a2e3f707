"""Where learners meet over the network: a server in a thread of its own, and a client that asks again for a while."""

import asyncio
import hmac
import ssl
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any, Final, TypeVar

import httpx
from aiohttp import web

from ddnn.errors import BadInput, Unauthorized, WorkerLost

__all__ = ["Asker", "Listener", "same"]

START_S: Final = 10.0
WAIT_S: Final = 60.0  #: for an answer, and for a server that cannot be reached
T = TypeVar("T")

GONE_S: Final = 1.0  #: between two tries to come where another one seems to be there still


class Listener:
    """An HTTP server in a thread of its own, which only those with the token may ask.

    Args:
        routes: What it answers; handlers run in its loop.
        largest: Most bytes of a body.
        token: What has to be shown, if anything.
        seen: Is called with each request that may ask.
    """

    def __init__(
        self,
        routes: Iterable[web.RouteDef],
        *,
        largest: int,
        token: str | None,
        seen: Callable[[web.Request], object] = lambda request: None,
    ) -> None:
        self._token, self._seen, self.loop = token, seen, asyncio.new_event_loop()
        self._app = web.Application(client_max_size=largest, middlewares=[self._guarded])
        self._app.add_routes(routes)
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.port = 0

    def start(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        """Listen; raise `BadInput` where that is not possible."""
        self._thread.start()
        try:
            self.port = self.run(self._start(host, port, context), START_S)
        except OSError as error:
            raise BadInput(f"{host}:{port} cannot be listened on ({error.strerror}); give another --port") from error

    def run(self, work: Coroutine[Any, Any, T], seconds: float | None = None) -> T:
        """What comes of `work` in the server's loop, waited for from another thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def stop(self) -> None:
        """Listen no more."""
        self.run(self._runner.cleanup(), START_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(START_S)
        self.loop.close()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._token and not same(given, self._token):
            return web.json_response({"error": "a token is missing or wrong"}, status=401)
        self._seen(request)
        response: web.StreamResponse = await handler(request)
        return response

    async def _start(self, host: str, port: int, context: ssl.SSLContext | None) -> int:
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, ssl_context=context).start()
        return int(self._runner.addresses[0][1])


def same(shown: str, secret: str) -> bool:
    """Whether a header's value, of any bytes, is the secret; how long that takes tells nothing of it."""
    return hmac.compare_digest(shown.encode(errors="surrogateescape"), secret.encode(errors="surrogateescape"))


class Asker:
    """Asks such a server.

    Args:
        url: Its address.
        headers: That go with every request.
        token: What it wants to see.
        authority: File with the certificate that the server's is checked by; by default the system's.
    """

    def __init__(self, url: str, headers: dict[str, str], token: str | None, authority: str | None) -> None:
        verify: Any = ssl.create_default_context(cafile=authority) if authority else True
        headers = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
        self._url = url
        self.client = httpx.Client(base_url=url, headers=headers, timeout=WAIT_S, verify=verify)

    def __call__(
        self, method: str, path: str, body: bytes | None = None, *, may: Collection[int] = (), again: int = 0
    ) -> httpx.Response:
        """The server's answer; it is asked again while it cannot be reached or says `again`, for a minute at most.

        Raise `BadInput` where the status is neither 200, 204 nor one of those that it `may` be.
        """
        until, pause = time.monotonic() + WAIT_S, 0.1
        while True:
            try:
                answer = self.client.request(method, path, content=body)
                if answer.status_code != again or time.monotonic() + GONE_S > until:
                    break
                time.sleep(GONE_S)
            except httpx.HTTPError as error:
                if time.monotonic() + pause > until:
                    raise WorkerLost(f"{self._url} could not be reached for {WAIT_S:g} s ({error})") from error
                time.sleep(pause)
                pause = min(2 * pause, 5.0)
        if answer.status_code == 401:
            raise Unauthorized(f"{self._url} wants a token; expected --token, or DDNN_TOKEN")
        if answer.status_code not in (200, 204, *may):
            raise BadInput(f"{self._url}{path} answered {answer.status_code}: {answer.text[:200]}")
        return answer
