"""The way up: ask the tier above, within a deadline, without ever waiting for the dead.

What is wrong with the configuration (another bundle, a wrong token) proves that the tier above lives. Failures are
silence, refusal, nonsense and 5xx.
"""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from ssl import SSLContext
from typing import Final, Self

import httpx

from ddnn.answers import outputs_to_answers
from ddnn.connections import trusted
from ddnn.errors import BadInput
from ddnn.stream import Unspoken, read_share
from ddnn.types import Answer, Array
from ddnn.uplink.exchange import Call, Exchange, refused
from ddnn.uplink.health import Circuit, RetryBudget, Target
from ddnn.uplink.homes import Homes
from ddnn.uplink.returns import Returns
from ddnn.uplink.streams import Streams, over_stream
from ddnn.uplink.transport import NoReply, OverAiohttp, OverHttpx, Received, Transport
from ddnn.wire import HEADER_LENGTH, InferResponse, decode_error, decode_response, encode_request, padded

__all__ = ["INFER_PATH", "SILENCE_S", "Reply", "Uplink"]

INFER_PATH: Final = "/v2/models/ddnn/infer"
_ALIVE_PATH: Final = "/v2/health/live"
_READY_PATH: Final = "/v2/health/ready"
SILENCE_S: Final = 0.15  #: an address that has said nothing for so long is asked whether it lives

_MOST_LOOKED_AT: Final = 1 << 20  #: bytes of what is looked at, a policy; an answer's bound is another
_LEAST_S: Final = 0.001  #: nobody is asked with less time than this
_CONNECTING: Final = 0.4  #: share of the budget after which a connection was not there for want of time
_PRESSED: Final = "x-ddnn-pressed"
_PRESSED_S: Final = 1.0  #: so long a tier that has called itself pressed, and is not asked since, counts as that
_PATIENCE_S: Final = 0.02  #: a budget below this says more of the caller than of the tier above


@dataclass(frozen=True, slots=True)
class Reply:
    """What the tier above answered."""

    response: InferResponse | None  #: None over a stream, which has answers alone
    headers: Mapping[str, str]
    bytes_sent: int  #: of HTTP bodies, or frames, up; retries included
    bytes_received: int  #: the same down
    seconds: float  #: the whole exchange
    answers: list[Answer]  #: one to each row sent, over as many classes and devices as the uplink expects


_Pass = tuple[Target, int]  #: an address that may be asked once, and the ticket for it


class Uplink:
    """A client of the tier above, one for the life of the process.

    Of several `urls` the first that lives is asked, or with `homes` the first in the order of an event's own.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        bundle: str,
        token: str | None = None,
        classes: int | None = None,
        devices: int | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        tls: SSLContext | None = None,
        connections: int = 64,
        keepalive_s: float = 4.0,
        silence_s: float | None = None,
        max_response_bytes: int = 32 << 20,
        pad_bytes: int = 0,
        tier: str | None = None,
        homes: bool = False,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Answers must be over `classes` and `devices`; None = any. `keepalive_s` must stay below the server's.

        `tls` is what https connections are made by; by default they trust as `ddnn.connections` says. Requests are
        multiples of `pad_bytes`.

        As `tier`, `device/3`, it asks over streams, and by HTTP where the tier above speaks none; needs `classes` and
        `devices`.
        """
        self._classes, self._devices = classes, devices
        self._clock, self._pause = clock, pause
        self._targets = [
            Target(url.rstrip("/"), clock, ask=self._alive, silence_s=silence_s, abandon=len(urls) > 1) for url in urls
        ]
        self._homes = Homes([target.url for target in self._targets]) if homes and len(urls) > 1 else None
        self._returns = Returns(self._ready)
        self._budget = RetryBudget()
        self.refusal: str | None = None
        """What the tier above last said against this one, a fault of configuration; None once it answers."""
        self._max_bytes, self._pad_bytes = max_response_bytes, pad_bytes
        self._headers = {"x-ddnn-bundle": bundle, "accept-encoding": "identity"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        secure = next((url for url in urls if url.startswith("https://")), "")
        self._transport: Transport = (
            OverHttpx(transport)
            if transport
            else OverAiohttp(connections=connections, keepalive_s=keepalive_s, trusted=tls or trusted(secure))
        )
        self._pressed = 0.0, 0.0  # by HTTP, and until when it holds
        self.streams = Streams(urls if tier else (), tls or trusted(secure) or None, classes or 0, devices or 0)
        """Those to the tiers above; none of a tier that asks by HTTP alone."""
        self.streams.say({**self._headers, "x-ddnn-tier": tier or ""})

    @property
    def circuit(self) -> Circuit:
        """The best of the targets' circuits: closed while anyone can be asked."""
        circuits = {target.breaker.circuit for target in self._targets}
        return "closed" if "closed" in circuits else "half_open" if "half_open" in circuits else "open"

    @property
    def round_trip_ms(self) -> float | None:
        """How long a reply usually takes, the median of the latest, in milliseconds; None before the first."""
        usual = self._next().trips.usual
        return None if usual is None else usual * 1000

    @property
    def pressed(self) -> float:
        """Share of the events that the tier above would rather not have, 0 to 1, as it has told lately."""
        if (told := self.streams.pressed) is not None:
            return told
        share, until = self._pressed
        return share if share and self._clock() < until else 0.0

    def can_answer(self, left: float, key: bytes | None = None) -> bool:
        """Whether a reply may be expected within `left` seconds, by the latest round trips of whom would be asked."""
        first = self._targets[0]
        usual = first if self._homes is None and first.breaker.opened is None else self._next(key)
        return usual.trips.within(left, self._clock())

    def home(self, key: bytes | None) -> tuple[str, ...]:
        """The address asked for an event, and the one after it: events alike in this may share a request."""
        if self._homes is None or key is None:
            return ()
        order = self._order(key)
        return tuple(target.url for target in order if target.breaker.opened is None)[:2]

    async def infer(
        self,
        inputs: Mapping[str, Array],
        *,
        deadline_ms: float,
        parameters: Mapping[str, bool | int | float | str] | None = None,
        headers: Mapping[str, str] | None = None,
        id: str = "",
        key: bytes | None = None,
    ) -> Reply:
        """Ask for all outputs; `inputs` are [B, …] each. An answer or a `NoReply` comes within `deadline_ms`.

        `key` is an event's of those in it, which are `home` at the same address.
        """
        started = self._clock()
        rows = len(next(iter(inputs.values())))
        call = Call(inputs, {**(parameters or {})}, headers or {}, started + deadline_ms / 1000, rows, id)
        self._budget.deposit()
        order = self._order(key)
        admitted, tried, sent = self._admitted(order), list[Target](), False
        while True:
            tried.append(admitted[0])
            try:
                got = await self._attempt(admitted, call)
                break
            except NoReply as failure:
                sent |= failure.sent
                following = await self._next_chance(failure, order, tried, call)
                if following is None:
                    failure.sent = sent
                    raise
                admitted = following
        spent = self._clock() - started
        return Reply(got.response, got.headers, call.sent + got.sent, got.received, spent, got.answers)

    async def look(
        self,
        url: str,
        path: str,
        *,
        headers: Mapping[str, str],
        seconds: float,
        method: str = "GET",
        body: bytes = b"",
        most: int = _MOST_LOOKED_AT,
        connect_s: float = math.inf,
    ) -> Received:
        """Ask `path` of an address, once, beside all events; raise `NoReply`. The circuits hear nothing of it.

        A connection must be there within `connect_s`, and all within `seconds`.
        """
        url = url.rstrip("/")
        try:
            async with asyncio.timeout(seconds):
                return await self._transport.exchange(
                    method,
                    url + path,
                    headers={**self._headers, **headers},
                    body=body,
                    connect_s=min(seconds, connect_s),
                    most=most,
                )
        except TimeoutError:
            raise NoReply("timeout", f"{url} gave no answer within {seconds:g} s") from None

    async def renew(self) -> None:
        """Connect anew from now on, by what `tls` holds now."""
        self.streams.renew()
        await self._transport.renew()

    async def aclose(self) -> None:
        for target in self._targets:
            target.close()
        await self._returns.aclose()
        await self.streams.aclose()
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _alive(self, url: str, seconds: float) -> None:
        if await self.streams.alive(url, seconds):
            return
        await self.look(url, _ALIVE_PATH, headers={}, seconds=seconds)

    async def _ready(self, target: Target) -> bool:
        try:
            reply = await self.look(target.url, _READY_PATH, headers={}, seconds=target.sign_s)
        except NoReply:
            return False
        return reply.status == 200

    def _order(self, key: bytes | None) -> Sequence[Target]:
        return [self._targets[number] for number in self._homes.order(key)] if self._homes else self._targets

    def _next(self, key: bytes | None = None) -> Target:
        order = self._order(key)
        closed = next((target for target in order if target.breaker.opened is None), None)
        return closed or next((target for target in order if target.breaker.circuit != "open"), order[0])

    def _admitted(self, targets: Sequence[Target]) -> _Pass:
        """The first that may be asked: those held off only where there is none else, see `returns`."""
        held_off = [target for target in targets if target.breaker.opened is not None]
        self._look_after(held_off)
        for target in (*(target for target in targets if target.breaker.opened is None), *held_off):
            if (ticket := target.breaker.admit()) is not None:
                return target, ticket
        raise NoReply("circuit_open", f"{targets[0].url} did not answer lately and is held off", sent=False)

    def _look_after(self, targets: Sequence[Target]) -> None:
        for target in targets if len(self._targets) > 1 else ():
            if target.breaker.opened is not None:
                self._returns.watch(target)

    async def _next_chance(
        self, failure: NoReply, order: Sequence[Target], tried: Sequence[Target], call: Call
    ) -> _Pass | None:
        """Whom to ask after a failure: another address where that one is gone, else once more, within the budget."""
        others = [target for target in order if target not in tried]
        if not failure.again or call.deadline - self._clock() < _LEAST_S:
            return None
        if failure.gone and (living := [target for target in others if target.breaker.opened is None]):
            return self._admitted(living)  # at no token: their circuits bound how many such calls there are
        if len(tried) > 1 or not self._budget.withdraw():
            return None
        if not others and failure.reason == "refused":
            # Full jitter around a few ms, so that the refused do not come back together.
            wait_s = random.uniform(0.005, 0.05) if failure.after_s is None else failure.after_s
            if wait_s > (call.deadline - self._clock()) / 2:
                return None
            await self._pause(wait_s)
        try:
            return self._admitted([*others, *tried])
        except NoReply:
            return None

    async def _attempt(self, admitted: _Pass, call: Call) -> Exchange:
        """One request; every way out tells the breaker."""
        (target, ticket), started = admitted, self._clock()
        budget_s = call.deadline - started
        try:
            if budget_s < _LEAST_S:
                left = f"{max(0, budget_s * 1000):.0f} ms are left"
                raise NoReply("deadline", f"{left}, too few to ask {target.url}", sent=False)
            # A probe of one may not cost the answer that another would give in what is left.
            elsewhere = len(self._targets) > 1 and target.breaker.probes(ticket)
            bound_s = budget_s / 2 if elsewhere else budget_s
            try:
                async with asyncio.timeout(bound_s) as bound:
                    target.waits(ticket, bound)
                    result = await self._post(target, call, budget_s)
            except TimeoutError:
                message = f"{target.url} gave no answer within {bound_s * 1000:.0f} ms"
                raise NoReply("timeout", message, again=elsewhere or not target.waited_for(ticket)) from None
        except NoReply as failure:
            self._judge(admitted, failure, budget_s, self._clock() - started)
            self._look_after([target])
            raise
        except BaseException:
            target.breaker.released(ticket)
            raise
        finally:
            target.ended(ticket)
        target.breaker.succeeded()
        target.trips.add(self._clock() - started)
        self.refusal = None
        return result

    def _judge(self, admitted: _Pass, failure: NoReply, budget_s: float, spent_s: float) -> None:
        target, ticket = admitted
        breaker, usual = target.breaker, target.trips.usual
        # Who is refused a connection at once has learned something, however little time there was.
        hurried = failure.reason in ("timeout", "refused") or (
            failure.reason == "unreachable" and spent_s > _CONNECTING * budget_s
        )
        if failure.lives:
            breaker.succeeded()
            self.refusal = str(failure)
        elif failure.reason == "deadline" or (hurried and budget_s < max(_PATIENCE_S, 2 * (usual or 0))):
            breaker.released(ticket)
        else:
            breaker.failed(ticket, refused=failure.reason == "refused")

    async def _post(self, target: Target, call: Call, budget_s: float) -> Exchange:
        if (stream := self.streams.to(target.url)) and stream.spoken:
            try:
                connect_s = min(budget_s / 2, target.connect_s)
                return await over_stream(stream, call, budget_s, connect_s=connect_s, heard=target.heard)
            except Unspoken:  # an older tier, or what is between
                budget_s = max(_LEAST_S, call.deadline - self._clock())
        return await self._over_http(target, call, budget_s)

    async def _over_http(self, target: Target, call: Call, budget_s: float) -> Exchange:
        if call.wire is None:
            encoded = encode_request(call.inputs, id=call.id, parameters=call.parameters)
            call.wire = padded(*encoded, self._pad_bytes)
        body, own = call.wire
        call.sent += len(body)
        received = await self._transport.exchange(
            "POST",
            target.url + INFER_PATH,
            headers={**call.headers, **self._headers, **own, "x-ddnn-deadline-ms": str(int(budget_s * 1000))},
            body=body,
            # A name that is not found, or a host that is gone, may not eat the whole budget.
            connect_s=min(budget_s / 2, target.connect_s),
            most=self._max_bytes,
        )
        target.heard()
        self._pressed = read_share(received.headers.get(_PRESSED, "")), self._clock() + _PRESSED_S
        if received.status != 200:
            said = str(decode_error(received.status, received.body))
            raise refused(target.url, received.status, said, received.headers.get("retry-after"))
        try:
            decoded = decode_response(received.body, received.headers.get(HEADER_LENGTH))
            answers = outputs_to_answers(decoded.outputs, rows=call.rows, classes=self._classes, devices=self._devices)
            return Exchange(answers, received.headers, 0, len(received.body), decoded)
        except BadInput as error:
            raise NoReply("bad_answer", f"{target.url} answered 200 and nonsense: {error}") from error
