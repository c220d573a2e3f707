"""A client of one tier: `Client`, and `AsyncClient` for code that awaits."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack

import httpx
import numpy.typing as npt
from httpx_aiohttp import AiohttpTransport

from ddnn.client.calls import LIVE, METADATA, POLICY, READY, STATUS, Call, Options, infer, session_headers, translated
from ddnn.errors import DDNNError
from ddnn.tls import trusted
from ddnn.types import Answer

__all__ = ["AsyncClient", "Client"]

T = TypeVar("T")

_LIMITS: Final = httpx.Limits(max_connections=64, max_keepalive_connections=64, keepalive_expiry=4.0)
"""A connection is let go before a server that keeps it for 5 s closes it under a request."""


class Client:
    """Ask one tier, usually a device; keeps its connection and may be used from several threads.

    Every failure is a `DDNNError`: the tier's own, `Unavailable` where nobody listens, `DeadlineExceeded` where nothing
    came in time.
    """

    def __init__(self, url: str, token: str | None = None, *, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            transport=transport,
            verify=trusted(self.url),
            trust_env=False,
            limits=_LIMITS,
            headers=session_headers(token),
            timeout=None,
        )

    def infer(
        self, view: npt.ArrayLike, *, events: Sequence[str] | None = None, **options: Unpack[Options]
    ) -> list[Answer]:
        """Return the answers to views [B, …]; rows with ids in `events` wait for the other devices' views of them."""
        return self._send(infer(view, events, **options))

    def metadata(self) -> dict[str, Any]:
        """Return the protocol's model metadata: inputs and outputs."""
        return self._send(METADATA)

    def status(self) -> dict[str, Any]:
        """Return how the tier is: circuit, round trip, policy, bundle."""
        return self._send(STATUS)

    def policy(self) -> dict[str, Any]:
        """Return the policy in force."""
        return self._send(POLICY)

    def ready(self) -> bool:
        """Whether the tier would answer; False too where nobody listens."""
        return self._says_yes(READY)

    def live(self) -> bool:
        """Whether the tier's process lives; False too where nobody listens."""
        return self._says_yes(LIVE)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _says_yes(self, call: Call[bool]) -> bool:
        try:
            return self._send(call)
        except DDNNError:
            return False

    def _send(self, call: Call[T]) -> T:
        with translated(self.url):
            response = self._http.request(
                call.method, self.url + call.path, content=call.content, headers=call.headers, timeout=call.patience_s
            )
        return call.result(self.url, response)


class AsyncClient:
    """`Client` for code that awaits; belongs to one event loop."""

    def __init__(
        self, url: str, token: str | None = None, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        if transport is None:
            transport = AiohttpTransport(verify=trusted(self.url), trust_env=False, limits=_LIMITS)
        self._http = httpx.AsyncClient(
            transport=transport, trust_env=False, headers=session_headers(token), timeout=None
        )

    async def infer(
        self, view: npt.ArrayLike, *, events: Sequence[str] | None = None, **options: Unpack[Options]
    ) -> list[Answer]:
        """Return the answers to views [B, …]; rows with ids in `events` wait for the other devices' views of them."""
        return await self._send(infer(view, events, **options))

    async def metadata(self) -> dict[str, Any]:
        """Return the protocol's model metadata: inputs and outputs."""
        return await self._send(METADATA)

    async def status(self) -> dict[str, Any]:
        """Return how the tier is: circuit, round trip, policy, bundle."""
        return await self._send(STATUS)

    async def policy(self) -> dict[str, Any]:
        """Return the policy in force."""
        return await self._send(POLICY)

    async def ready(self) -> bool:
        """Whether the tier would answer; False too where nobody listens."""
        return await self._says_yes(READY)

    async def live(self) -> bool:
        """Whether the tier's process lives; False too where nobody listens."""
        return await self._says_yes(LIVE)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _says_yes(self, call: Call[bool]) -> bool:
        try:
            return await self._send(call)
        except DDNNError:
            return False

    async def _send(self, call: Call[T]) -> T:
        with translated(self.url):
            async with asyncio.timeout(call.patience_s):
                response = await self._http.request(
                    call.method, self.url + call.path, content=call.content, headers=call.headers
                )
        return call.result(self.url, response)
