"""A client of one tier: `Client`, and `AsyncClient` for code that awaits; both ask and read the same."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Self, TypedDict, TypeVar, Unpack

import aiohttp
import httpx
import numpy as np
import numpy.typing as npt
import orjson
from httpx import AsyncBaseTransport, BaseTransport
from httpx_aiohttp import AiohttpTransport

from ddnn.answers import outputs_to_answers
from ddnn.connections import Resolver, trusted
from ddnn.errors import BadInput, DDNNError, DeadlineExceeded, Unavailable
from ddnn.types import Answer, Array
from ddnn.wire import HEADER_LENGTH, decode_error, decode_response, encode_request, shown

__all__ = ["AsyncClient", "Call", "Client", "Options", "json_object", "rows_of", "session_headers"]

T = TypeVar("T")

_GRACE_S: Final = 2.0  #: a tier is listened to so much longer than its deadline: the way back takes time
_LIMITS: Final = httpx.Limits(max_connections=64, max_keepalive_connections=64, keepalive_expiry=4.0)
"""A connection is let go before a server that keeps it for 5 s closes it under a request."""


class Options(TypedDict, total=False):
    """What can be asked of one request."""

    deadline_ms: float | None  #: time budget in milliseconds; the tier's own by default
    max_exit: str | None  #: answer no higher than this exit: device, local, edge or cloud
    threshold: float | None
    """In place of the policy's thresholds: answer at the first exit whose criterion is below it."""
    wait_ms: float | None  #: how long to wait for every other device of the event, alive or not, in milliseconds
    request_id: str | None
    """Up to 128 printable characters; comes back in the response, and goes up with a request of its own."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """One HTTP request and how to read its answer."""

    method: str
    path: str
    decode: Callable[[httpx.Response], T]
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    timeout_s: float | None = None  #: None = the client's own

    def result(self, url: str, response: httpx.Response) -> T:
        """Return what the response says; raise the error it stands for."""
        if response.status_code != 200:
            raise decode_error(response.status_code, response.content)
        try:
            return self.decode(response)
        except BadInput as error:
            raise DDNNError(f"{url} answered nonsense: {error}") from error


class Client:
    """Ask one tier, usually a device; keeps its connection and may be used from several threads.

    Every failure is a `DDNNError`: the tier's own, `Unavailable` where nothing listens, `DeadlineExceeded` where
    nothing came in time. A request without a deadline is given up after `timeout_s` seconds.
    """

    def __init__(
        self, url: str, token: str | None = None, *, timeout_s: float = 30, transport: BaseTransport | None = None
    ) -> None:
        self.url, self._timeout_s = url.rstrip("/"), timeout_s
        self._http = httpx.Client(transport=transport, verify=trusted(self.url), limits=_LIMITS, **_session(token))

    def infer(
        self, view: npt.ArrayLike | Sequence[bytes], *, events: Sequence[str] | None = None, **options: Unpack[Options]
    ) -> list[Answer]:
        """Return the answers to views [B, …]; rows with ids in `events` wait for the other devices' views of them.

        Where views are images, they may be B files instead: JPEG, PNG or WebP.
        """
        return self.send(_infer(view, events, **options))

    def metadata(self) -> dict[str, Any]:
        """Return the protocol's model metadata: inputs and outputs."""
        return self.send(_METADATA)

    def status(self) -> dict[str, Any]:
        """Return how the tier is: circuit, round trip, policy, bundle."""
        return self.send(_STATUS)

    def policy(self) -> dict[str, Any]:
        """Return the policy in force."""
        return self.send(_POLICY)

    def ready(self) -> bool:
        """Whether the tier would answer; False too where nothing listens."""
        return self._says_yes("ready")

    def live(self) -> bool:
        """Whether the tier's process lives; False too where nothing listens."""
        return self._says_yes("live")

    def send(self, call: Call[T]) -> T:
        """Make any call."""
        timeout = self._timeout_s if call.timeout_s is None else call.timeout_s
        with _translated(self.url):
            response = self._http.request(
                call.method, self.url + call.path, content=call.content, headers=call.headers, timeout=timeout
            )
        return call.result(self.url, response)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _says_yes(self, health: str) -> bool:
        try:
            return self.send(Call("GET", f"/v2/health/{health}", lambda _: True))
        except DDNNError:
            return False


class AsyncClient:
    """`Client` for code that awaits; belongs to one event loop."""

    def __init__(
        self, url: str, token: str | None = None, *, timeout_s: float = 30, transport: AsyncBaseTransport | None = None
    ) -> None:
        self.url, self._timeout_s = url.rstrip("/"), timeout_s
        self._http = httpx.AsyncClient(transport=transport or AiohttpTransport(client=self._open), **_session(token))

    async def infer(
        self, view: npt.ArrayLike | Sequence[bytes], *, events: Sequence[str] | None = None, **options: Unpack[Options]
    ) -> list[Answer]:
        """Return the answers to views [B, …]; rows with ids in `events` wait for the other devices' views of them."""
        return await self.send(_infer(view, events, **options))

    async def metadata(self) -> dict[str, Any]:
        """Return the protocol's model metadata: inputs and outputs."""
        return await self.send(_METADATA)

    async def status(self) -> dict[str, Any]:
        """Return how the tier is: circuit, round trip, policy, bundle."""
        return await self.send(_STATUS)

    async def policy(self) -> dict[str, Any]:
        """Return the policy in force."""
        return await self.send(_POLICY)

    async def ready(self) -> bool:
        """Whether the tier would answer; False too where nothing listens."""
        return await self._says_yes("ready")

    async def live(self) -> bool:
        """Whether the tier's process lives; False too where nothing listens."""
        return await self._says_yes("live")

    async def send(self, call: Call[T]) -> T:
        """Make any call."""
        with _translated(self.url):
            async with asyncio.timeout(self._timeout_s if call.timeout_s is None else call.timeout_s):
                response = await self._http.request(
                    call.method, self.url + call.path, content=call.content, headers=call.headers
                )
        return call.result(self.url, response)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def _open(self) -> aiohttp.ClientSession:
        limit, keepalive = _LIMITS.max_connections or 0, _LIMITS.keepalive_expiry
        connector = aiohttp.TCPConnector(
            limit=limit, resolver=Resolver(), keepalive_timeout=keepalive, ssl=trusted(self.url)
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def _says_yes(self, health: str) -> bool:
        try:
            return await self.send(Call("GET", f"/v2/health/{health}", lambda _: True))
        except DDNNError:
            return False


def session_headers(token: str | None) -> dict[str, str]:
    """Headers of every request; raise `BadInput` for a token that no header can carry."""
    if token and not (token.isascii() and token.isprintable()):
        raise BadInput("the token has a control character or one beyond ASCII; expected what the tiers have")
    return {"accept-encoding": "identity", **({"authorization": f"Bearer {token}"} if token else {})}


def _session(token: str | None) -> dict[str, Any]:
    return {"headers": session_headers(token), "trust_env": False, "timeout": None}


def json_object(response: httpx.Response) -> dict[str, Any]:
    """Read a body that is one JSON object; raise `BadInput` for another."""
    try:
        document = orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"invalid JSON ({error})") from error
    if not isinstance(document, dict):
        raise BadInput("JSON that is not an object")
    return document


def rows_of(view: npt.ArrayLike | Sequence[bytes]) -> Array:
    """Views as an array; files of photographs as one of objects, as numpy's own bytes lose the zeros at their end."""
    if isinstance(view, list | tuple) and view and all(isinstance(row, bytes) for row in view):
        rows = np.empty(len(view), np.object_)
        rows[:] = view
        return rows
    return np.asarray(view)


def _infer(
    view: npt.ArrayLike | Sequence[bytes], events: Sequence[str] | None, **options: Unpack[Options]
) -> Call[list[Answer]]:
    """Ask for the answers to views [B, …], row by row of the events with ids in `events`.

    As in data to learn from, bytes and bool go as UINT8, other numbers as FP32.
    """
    array = rows_of(view)
    if array.dtype.kind == "b":
        array = array.view(np.uint8)
    elif array.dtype.kind in "fiu" and array.dtype != np.uint8:
        array = array.astype(np.float32, copy=False)
    if array.ndim == 0:
        raise BadInput(f"the view is {shown(view)}; expected an array, events first")
    inputs = {"picture" if array.dtype.hasobject else "view": array}
    if events is not None and len(events) != len(array):
        raise BadInput(f"there are {len(events)} event ids for views of shape {list(array.shape)}")
    if events is not None:
        inputs["event"] = np.array([event.encode() for event in events], np.object_)
    deadline_ms, request_id = options.pop("deadline_ms", None), options.pop("request_id", None)
    parameters: Any = {name: value for name, value in options.items() if value is not None}
    body, headers = encode_request(inputs, id=request_id or "", parameters=parameters)
    if deadline_ms is not None:
        headers["x-ddnn-deadline-ms"] = f"{deadline_ms:.0f}"
    if request_id is not None:
        headers["x-request-id"] = request_id
    timeout_s = None if deadline_ms is None else deadline_ms / 1000 + _GRACE_S

    def decode(response: httpx.Response) -> list[Answer]:
        outputs = decode_response(response.content, response.headers.get(HEADER_LENGTH)).outputs
        return outputs_to_answers(outputs, rows=len(array))

    return Call("POST", "/v2/models/ddnn/infer", decode, body, headers, timeout_s)


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Turn whatever fails in talking to `url` into a `DDNNError` with a sentence."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        said = _cause(error)
        hint = "; SSL_CERT_FILE names the authority to trust, SITE/authority.pem" if _UNTRUSTED in said else ""
        raise Unavailable(f"{url} cannot be reached ({said}){hint}") from error
    except (httpx.TimeoutException, TimeoutError) as error:
        raise DeadlineExceeded(f"{url} gave no answer in time") from error
    except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"{url}: the connection broke ({str(error) or type(error).__name__})") from error


def _cause(error: BaseException) -> str:
    """Why there is no connection: the system's words where it has some, without the caller's library around them."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ConnectionError) and seen.errno:
            return os.strerror(seen.errno).lower()
        seen = seen.__cause__ or seen.__context__
    return str(error) or type(error).__name__


_UNTRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"
_METADATA: Final = Call("GET", "/v2/models/ddnn", json_object)
_STATUS: Final = Call("GET", "/v2/status", json_object)
_POLICY: Final = Call("GET", "/v2/policy", json_object)
