"""The way up: ask the tier above, within a deadline, without ever waiting for the dead.

What is wrong with the configuration (another bundle, a wrong token, a request refused as bad) proves that the tier
above lives: it closes the circuit, and every call meets it again. Failures are silence, refusal, nonsense and 5xx.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from ddnn.answers import outputs_to_answers
from ddnn.errors import BadInput
from ddnn.types import Answer, Array
from ddnn.uplink.breaker import Breaker, Circuit
from ddnn.uplink.budget import RetryBudget
from ddnn.uplink.failure import NoReply, Reason
from ddnn.wire import HEADER_LENGTH, InferResponse, decode_error, decode_response, encode_request

__all__ = ["INFER_PATH", "Reply", "Uplink"]

INFER_PATH: Final = "/v2/models/ddnn/infer"

_SMOOTHING: Final = 0.2
"""Weight of the newest round trip in the estimate."""
_MOST_LOOKED_AT: Final = 1 << 20
"""Bytes of what is looked at, a policy; an answer's bound is another."""
_PATIENCE_MS: Final = 20.0
"""A budget below this, or below twice the usual round trip, says more of the caller than of the tier above."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the tier above answered."""

    response: InferResponse
    headers: Mapping[str, str]
    bytes_sent: int
    """HTTP body bytes up, retries included."""
    bytes_received: int
    """HTTP body bytes down."""
    seconds: float
    """The whole exchange."""
    decoded: list[Answer]
    """The answers, which make sense among themselves, one to each row sent."""

    def answers(self, *, rows: int, classes: int, devices: int | None = None) -> list[Answer]:
        """Return the answers in the reply; raise `NoReply` (bad_answer) if there are not as many of everything."""
        for found, expected, what in (
            (len(self.decoded), rows, "rows"),
            (self.decoded[0].probabilities.size, classes, "classes"),
            (self.decoded[0].devices.size, devices, "devices"),
        ):
            if expected not in (None, found):
                raise NoReply("bad_answer", f"the tier above answered nonsense: {found} {what}; expected {expected}")
        return self.decoded


@dataclass(frozen=True, slots=True)
class _Target:
    url: str
    breaker: Breaker


@dataclass(frozen=True, slots=True)
class _Pass:
    """A target that may be asked, once."""

    target: _Target
    ticket: int


@dataclass(frozen=True, slots=True)
class _Call:
    body: bytes
    headers: Mapping[str, str]
    deadline: float
    rows: int


@dataclass(frozen=True, slots=True)
class _Exchange:
    response: InferResponse
    headers: Mapping[str, str]
    bytes_received: int
    answers: list[Answer]


class Uplink:
    """A client of the tier above, one for the life of the process; the first of `urls` that lives is asked."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        bundle: str,
        token: str | None = None,
        classes: int | None = None,
        devices: int | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        connections: int = 64,
        keepalive_s: float = 4.0,
        max_response_bytes: int = 32 << 20,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`classes` and `devices` are what every answer must be over; None = any.

        `keepalive_s` must stay below the server's, or a connection closes under a request.
        """
        self._classes, self._devices = classes, devices
        self._clock, self._pause = clock, pause
        self._targets = [_Target(url.rstrip("/"), Breaker(clock)) for url in urls]
        self._budget = RetryBudget()
        self._max_bytes = max_response_bytes
        self._round_trip_ms: float | None = None
        self._headers = {"x-ddnn-bundle": bundle, "accept-encoding": "identity"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        if transport is None:
            limits = httpx.Limits(max_connections=connections, keepalive_expiry=keepalive_s)
            # Loading certificates costs megabytes; nothing is verified where no address is https.
            secure = any(url.startswith("https://") for url in urls)
            transport = AiohttpTransport(verify=secure, trust_env=False, limits=limits)
        self._client = httpx.AsyncClient(transport=transport, trust_env=False, timeout=None)

    @property
    def circuit(self) -> Circuit:
        """The best of the targets' circuits: closed while anyone can be asked."""
        circuits = {target.breaker.circuit for target in self._targets}
        return "closed" if "closed" in circuits else "half_open" if "half_open" in circuits else "open"

    @property
    def round_trip_ms(self) -> float | None:
        """How long a reply usually takes, smoothed, in milliseconds; None before the first."""
        return self._round_trip_ms

    async def infer(
        self,
        inputs: Mapping[str, Array],
        *,
        deadline_ms: float,
        parameters: Mapping[str, bool | int | float | str] | None = None,
        headers: Mapping[str, str] | None = None,
        id: str = "",
    ) -> Reply:
        """Ask for all outputs; `inputs` are [B, …] each. An answer or a `NoReply` comes within `deadline_ms`."""
        started = self._clock()
        body, wire_headers = encode_request(inputs, id=id, parameters=parameters)
        rows = len(next(iter(inputs.values())))
        call = _Call(body, {**(headers or {}), **self._headers, **wire_headers}, started + deadline_ms / 1000, rows)
        self._budget.deposit()
        sent = len(body)
        first = self._admitted(self._targets)
        try:
            got = await self._attempt(first, call)
        except NoReply as failure:
            second = await self._second_chance(failure, first.target, call)
            if second is None:
                raise
            sent += len(body)
            got = await self._attempt(second, call)
        return Reply(got.response, got.headers, sent, got.bytes_received, self._clock() - started, got.answers)

    async def look(self, url: str, path: str, *, headers: Mapping[str, str], seconds: float) -> tuple[int, bytes]:
        """GET `path` of one of the addresses: its status and body, whatever they are; raise `NoReply`.

        The circuits hear nothing of it.
        """
        request = self._client.build_request(
            "GET", url.rstrip("/") + path, headers={**self._headers, **headers}, timeout=None
        )
        try:
            async with asyncio.timeout(seconds):
                response, body = await self._exchange(url, request, _MOST_LOOKED_AT)
        except TimeoutError:
            raise NoReply("timeout", f"{url} gave no answer within {seconds:g} s") from None
        return response.status_code, body

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _admitted(self, targets: Sequence[_Target]) -> _Pass:
        for target in targets:
            if (ticket := target.breaker.admit()) is not None:
                return _Pass(target, ticket)
        raise NoReply("circuit_open", f"{targets[0].url} did not answer lately and is held off")

    async def _second_chance(self, failure: NoReply, tried: _Target, call: _Call) -> _Pass | None:
        others = [target for target in self._targets if target is not tried]
        if not failure.again or not self._budget.withdraw():
            return None
        if not others and failure.reason == "refused":
            # Full jitter around a few ms, so that the refused do not come back together.
            wait_s = random.uniform(0.005, 0.05) if failure.after_s is None else failure.after_s
            if wait_s > (call.deadline - self._clock()) / 2:
                return None
            await self._pause(wait_s)
        try:
            return self._admitted([*others, tried])
        except NoReply:
            return None

    async def _attempt(self, admitted: _Pass, call: _Call) -> _Exchange:
        """One request; every way out tells the breaker."""
        target, started = admitted.target, self._clock()
        breaker = target.breaker
        budget_s = call.deadline - started
        try:
            if budget_s < 0.001:
                raise NoReply("deadline", f"{max(0, budget_s * 1000):.0f} ms are left, too few to ask {target.url}")
            try:
                async with asyncio.timeout(budget_s):
                    result = await self._post(target.url, call, budget_s)
            except TimeoutError:
                raise NoReply("timeout", f"{target.url} gave no answer within {budget_s * 1000:.0f} ms") from None
        except NoReply as failure:
            self._judge(admitted, failure, budget_s * 1000)
            raise
        except BaseException:
            breaker.released(admitted.ticket)
            raise
        breaker.succeeded()
        seen_ms, usual_ms = (self._clock() - started) * 1000, self._round_trip_ms
        self._round_trip_ms = seen_ms if usual_ms is None else usual_ms + _SMOOTHING * (seen_ms - usual_ms)
        return result

    def _judge(self, admitted: _Pass, failure: NoReply, budget_ms: float) -> None:
        breaker = admitted.target.breaker
        patience_ms = max(_PATIENCE_MS, 2 * (self._round_trip_ms or 0))
        impatient = failure.reason in ("timeout", "refused") and budget_ms < patience_ms
        if failure.lives:
            breaker.succeeded()
        elif failure.reason == "deadline" or impatient:
            breaker.released(admitted.ticket)
        else:
            breaker.failed(admitted.ticket)

    async def _post(self, url: str, call: _Call, budget_s: float) -> _Exchange:
        # With someone else to ask, a connection that hangs may not eat the whole budget.
        connect_s = budget_s / 2 if len(self._targets) > 1 else None
        request = self._client.build_request(
            "POST",
            url + INFER_PATH,
            content=call.body,
            headers={**call.headers, "x-ddnn-deadline-ms": str(int(budget_s * 1000))},
            timeout=httpx.Timeout(None, connect=connect_s, pool=connect_s),
        )
        response, body = await self._exchange(url, request, self._max_bytes)
        if response.status_code != 200:
            raise _refusal(url, response, body)
        try:
            decoded = decode_response(body, response.headers.get(HEADER_LENGTH))
            answers = outputs_to_answers(decoded.outputs, rows=call.rows, classes=self._classes, devices=self._devices)
            return _Exchange(decoded, response.headers, len(body), answers)
        except BadInput as error:
            raise NoReply("bad_answer", f"{url} answered 200 and nonsense: {error}") from error

    async def _exchange(self, url: str, request: httpx.Request, most: int) -> tuple[httpx.Response, bytes]:
        """Send and read all, `most` bytes at most; every failure is a `NoReply`."""
        try:
            response = await self._client.send(request, stream=True)
            try:
                return response, await _read(response, most)
            finally:
                await response.aclose()
        except (httpx.RemoteProtocolError, httpx.DecodingError, aiohttp.ClientResponseError) as error:
            raise NoReply("bad_answer", f"{url} does not speak HTTP as expected ({type(error).__name__})") from error
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            again = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
            raise NoReply("unreachable", f"{url} cannot be reached ({type(error).__name__})", again=again) from error


async def _read(response: httpx.Response, most: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > most:
            raise NoReply("bad_answer", f"the answer is longer than {most} bytes")
    return bytes(body)


def _refusal(url: str, response: httpx.Response, body: bytes) -> NoReply:
    status = response.status_code
    message = f"{url} answered {status}: {decode_error(status, body)}"
    if status in (429, 503):
        return NoReply("refused", message, again=True, after_s=_seconds(response.headers.get("retry-after")))
    if status == 504:
        return NoReply("timeout", message)
    slugs: dict[int, Reason] = {401: "unauthorized", 403: "unauthorized", 409: "other_bundle"}
    return NoReply(slugs.get(status, "error"), message, lives=400 <= status < 500)


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None
