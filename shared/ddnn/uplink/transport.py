"""What carries a request to the tier above: aiohttp (httpx costs four times as much), or a test's httpx transport."""

import socket
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from ssl import SSLContext
from typing import Final, Literal

import aiohttp
import httpx

from ddnn.connections import Resolver, kept_alive
from ddnn.errors import UplinkFailed

__all__ = ["NoReply", "OverAiohttp", "OverHttpx", "Reason", "Received", "Transport"]

Reason = Literal[
    "unreachable",  # no connection, or it broke
    "timeout",  # no answer before the deadline
    "refused",  # 429 or 503: no room, starting or draining
    "circuit_open",  # held off after failures, not even tried
    "other_bundle",  # 409
    "unauthorized",  # 401 or 403
    "bad_answer",  # 200, and what came makes no sense
    "error",  # any other status
    "deadline",  # no budget left to try with
]


class NoReply(UplinkFailed):
    """The upper tier gave no usable reply; `reason` is the slug for metrics and `degraded_reason`."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        again: bool = False,
        after_s: float | None = None,
        lives: bool = False,
        sent: bool = True,
        gone: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.again = again  # whether another try may be worth it
        self.after_s = after_s  # what the tier above asked to wait before that, in seconds
        self.lives = lives  # whether it shows that the tier above lives all the same: a fault of configuration
        self.sent = sent  # whether anything of the request may have gone out
        # Whether the address is gone, or going, so that another may have its calls.
        self.gone = reason in ("unreachable", "timeout") if gone is None else gone


_NOT_BY_ITSELF: Final = ("User-Agent", "Accept", "Content-Type")
_LARGE: Final = 1 << 20  #: aiohttp writes larger bodies in pieces, if it may
_NAMES_S: Final = 1  #: how long a name's address is kept, in seconds: a container that is started again has another one


@dataclass(frozen=True, slots=True)
class Received:
    """A whole response."""

    status: int
    headers: Mapping[str, str]  #: names in any case
    body: bytes


class Transport(ABC):
    """Sends requests over connections that it keeps."""

    @abstractmethod
    async def exchange(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes, connect_s: float, most: int
    ) -> Received:
        """Send and read all, at most `most` bytes, connecting within `connect_s`; every failure is a `NoReply`."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close all connections."""

    @abstractmethod
    async def renew(self) -> None:
        """Connect anew from now on; a connection in use is closed when its request is answered."""


class _Socket(socket.socket):
    """A socket that is not closed when nobody holds it any more: the loop has it then, and closes it.

    uvloop closes the descriptor of a connection whose TLS handshake failed, or was given up. Closed here too, when the
    socket is collected, it would by then be another connection's, here or of a caller.
    """

    def __del__(self) -> None:
        if self.fileno() >= 0:
            self.detach()


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    sock = _Socket(family, kind, protocol)
    kept_alive(sock)
    return sock


class OverAiohttp(Transport):
    """The network."""

    def __init__(self, *, connections: int, keepalive_s: float, trusted: SSLContext | bool) -> None:
        """`trusted`: see `ddnn.connections` and `ddnn.identity`; False where no address is https."""
        self._connections, self._keepalive_s, self._trusted = connections, keepalive_s, trusted
        self._session: aiohttp.ClientSession | None = None  # wants a running loop
        self._in_use: Counter[aiohttp.ClientSession] = Counter()  # requests over each

    async def exchange(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes, connect_s: float, most: int
    ) -> Received:
        session = self._session or self._open()
        self._in_use[session] += 1
        try:
            async with session.request(
                method,
                url,
                headers=headers,
                data=BytesIO(body) if len(body) >= _LARGE else body or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(connect=connect_s),
            ) as response:
                return Received(response.status, response.headers, await _read(response, most))
        except aiohttp.ClientResponseError as error:
            raise _not_http(url, error) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a name that cannot be one is a ValueError
            # Refused, not found, not connected in time, or a kept connection that closed before it said anything.
            raise _unreachable(url, error, again=isinstance(error, aiohttp.ClientConnectionError)) from error
        finally:
            self._in_use[session] -= 1
            await self._close_if_left(session)

    async def aclose(self) -> None:
        """Close all connections."""
        for session in filter(None, {self._session, *self._in_use}):
            await session.close()

    async def renew(self) -> None:
        session, self._session = self._session, None
        if session:
            await self._close_if_left(session)

    async def _close_if_left(self, session: aiohttp.ClientSession) -> None:
        if session is not self._session and not self._in_use[session]:
            del self._in_use[session]
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._connections,
            resolver=Resolver(),
            socket_factory=_socket,
            keepalive_timeout=self._keepalive_s,
            ssl=self._trusted,
            ttl_dns_cache=_NAMES_S,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            skip_auto_headers=_NOT_BY_ITSELF,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self._session


class OverHttpx(Transport):
    """An httpx transport: a fleet within one process."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        # Whoever asks bounds the whole exchange.
        self._client = httpx.AsyncClient(transport=transport, trust_env=False, timeout=None)  # nosec B113

    async def exchange(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes, connect_s: float, most: int
    ) -> Received:
        timeout = httpx.Timeout(None, connect=connect_s, pool=connect_s)
        request = self._client.build_request(method, url, headers=headers, content=body, timeout=timeout)
        try:
            response = await self._client.send(request)
        except (httpx.RemoteProtocolError, httpx.DecodingError) as error:
            raise _not_http(url, error) from error
        except (httpx.HTTPError, OSError) as error:
            again = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
            raise _unreachable(url, error, again=again) from error
        if len(response.content) > most:
            raise _too_long(most)
        return Received(response.status_code, response.headers, response.content)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def renew(self) -> None:
        pass  # what it connects to is within this process


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    if (length := response.content_length) is not None:
        if length > most:
            raise _too_long(most)
        return await response.read()
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            raise _too_long(most)
    return bytes(body)


def _too_long(most: int) -> NoReply:
    return NoReply("bad_answer", f"the answer is longer than {most} bytes")


def _not_http(url: str, error: Exception) -> NoReply:
    return NoReply("bad_answer", f"{url} does not speak HTTP as expected ({type(error).__name__})")


def _unreachable(url: str, error: Exception, *, again: bool) -> NoReply:
    why = str(error.certificate_error) if isinstance(error, aiohttp.ClientConnectorCertificateError) else ""
    sent = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | httpx.ConnectError)
    return NoReply("unreachable", f"{url} cannot be reached ({why or type(error).__name__})", again=again, sent=sent)
