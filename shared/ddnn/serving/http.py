"""The middleware before every route, and `POST /v2/models/ddnn/infer`: pure ASGI, as microseconds count there.

A request is admitted, read, decoded, answered, encoded and sent, each of them timed. A refusal is two ASGI messages.
"""

import asyncio
import logging
import re
import zlib
from collections.abc import Awaitable, Mapping
from hmac import compare_digest
from time import monotonic, perf_counter
from typing import Any, Final

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

import ddnn
from ddnn.answers import encode_answers
from ddnn.errors import BadInput, DDNNError, DeadlineExceeded, NotFound, TooLarge, Unauthorized, UnsupportedEncoding
from ddnn.identity import Peer
from ddnn.serving.admission import Seat
from ddnn.serving.doors import Doors
from ddnn.serving.faces import Face, Faces
from ddnn.serving.memory import CONNECTIONS
from ddnn.serving.openapi import MODEL, SECURITY, VERSION
from ddnn.serving.pictures import is_photograph, picture_request
from ddnn.serving.pressure import PRESSED_HEADER
from ddnn.serving.request import RequestOptions, read_budget, read_options, request_id
from ddnn.serving.service import Service
from ddnn.serving.shares import caller_of
from ddnn.serving.traces import Traces
from ddnn.serving.turnstile import Turnstile
from ddnn.types import Answer
from ddnn.wire import HEADER_LENGTH, InferRequest, Limits, decode_request, encode_error, padded

__all__ = ["CALLER_LEFT", "App", "caller", "caller_left", "error_of_ours", "read_body", "refusal", "refuse_unknown"]
__all__ += ["gunzip", "until_left"]

_log = logging.getLogger("ddnn")

_INFER: Final = frozenset({f"/v2/models/{MODEL}/infer", f"/v2/models/{MODEL}/versions/{VERSION}/infer"})
_ANY_INFER: Final = re.compile("/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer")
_HEADER_LENGTH: Final = HEADER_LENGTH.lower().encode()
_MEMBERS: Final = 64
_PRESSED: Final = PRESSED_HEADER.encode()
_GZIP, _ZLIB, _RAW = 31, 15, -15  # what zlib calls the envelopes
_ENCODINGS: Final = b"gzip, deflate, identity"
CALLER_LEFT: Final = 499  #: what a request is counted as whose caller left before it was answered
_TASK, _GONE = "task", "gone"

Head = list[tuple[bytes, bytes]]


def caller_left(state: dict[str, Any]) -> None:
    """The connection of a request in this state, which is not answered, was lost: end the task that works on it."""
    if task := state.get(_TASK):
        state[_GONE] = True
        task.cancel()


async def until_left(scope: Scope, work: Awaitable[object]) -> None:
    """Await `work`, or until the caller has left."""
    state = scope.setdefault("state", {})
    state[_TASK] = asyncio.current_task()
    try:
        await work
    except asyncio.CancelledError:
        if _GONE not in state:
            raise
    finally:
        del state[_TASK]


def caller(scope: Scope) -> str:
    """Whatever sent a request, as far as its connection tells: the tier that a certificate names, else its address."""
    peer: Peer | None = scope.get("state", {}).get("peer")
    return peer.name.uri if peer else str((scope.get("client") or ("unknown",))[0])


def refusal(error: DDNNError, *, tier: str, request: str, retry_after: int = 1) -> tuple[Head, bytes]:
    """Head and body of the one error response there is."""
    body = encode_error(error, request_id=request, tier=tier)
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if error.status in (429, 503):
        head.append((b"retry-after", b"%d" % retry_after))
    if error.status == 401:
        head.append((b"www-authenticate", b"Bearer"))
    if error.status == 415:
        head.append((b"accept-encoding", _ENCODINGS))
    return head, body


def error_of_ours(error: Exception, request: str) -> DDNNError:
    """Log an error that is no refusal; what its caller hears."""
    _log.error("request %s failed", request, exc_info=error)
    return DDNNError(f"an error of ours; this tier's log has it under {request}")


def refuse_unknown(model: str = MODEL, version: str | None = None) -> None:
    """Raise `NotFound` for another model, or another version of it, than the one there is."""
    for name, found, expected in (("model", model, MODEL), ("version", version or VERSION, VERSION)):
        if found != expected:
            raise NotFound(f"{name} {found[:40]!r} is unknown; expected {expected!r}")


class App(FastAPI):
    """FastAPI behind a middleware that admits and serves inference requests, and gives every request its id."""

    def __init__(self, service: Service, **given: Any) -> None:
        super().__init__(**given)
        self.state.service = self.service = service
        self.faces = Faces(service)
        self.state.turnstile = Turnstile(service, self.faces)
        self.state.doors = Doors(service.settings.max_connections or CONNECTIONS)
        self.most_ms = max(service.settings.max_deadline_ms, service.settings.deadline_ms)
        token = service.settings.token
        self._authorization = f"Bearer {token.get_secret_value()}".encode() if token else None
        self._traces = Traces.of(service.settings, service.tier, ddnn.__version__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        state, headers = scope.setdefault("state", {}), dict(scope["headers"])
        identity = state["request_id"] = request_id(headers.get(b"x-request-id", b""))
        state["caller"] = caller_of(scope, state.get("peer"))
        if scope["method"] == "POST" and ((path := scope["path"]) in _INFER or _ANY_INFER.fullmatch(path)):
            await self._infer(scope, headers, receive, send)
            return

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", identity.encode())]
            await send(message)

        await super().__call__(scope, receive, send_marked)

    def openapi(self) -> dict[str, Any]:
        page = super().openapi()
        page.setdefault("components", {})["securitySchemes"] = SECURITY
        return page

    async def _infer(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, send: Send) -> None:
        """Answer an inference request, whatever becomes of it, and count it."""
        path, state = scope["path"], scope["state"]
        came: float = state.setdefault("arrived", monotonic())  # when its first byte did, where the server says so
        face = self.faces.of(headers)
        service, identity, status, seat = face.service, state["request_id"], 500, None
        stages: dict[str, float] = {}
        state[_TASK] = asyncio.current_task()
        service.waits.began(came)
        try:
            try:
                self.demand_token(headers, state.get("peer"))
                if path not in _INFER and (names := _ANY_INFER.fullmatch(path)):
                    refuse_unknown(**names.groupdict())
                budget_ms = read_budget(headers, self.most_ms)
                seat = face.admission.admit(headers, came, budget_ms, state["caller"])
                head, body = await self._answer(face, scope, headers, came, budget_ms, receive, seat, stages)
                status = 200
            except Exception as caught:
                error = caught if isinstance(caught, DDNNError) else error_of_ours(caught, identity)
                service.trail.refused(error.code, caller(scope))
                wait, status = face.admission.retry_after(), error.status
                head, body = refusal(error, tier=service.tier, request=identity, retry_after=wait)
            start = perf_counter()
            head = [*head, (b"x-request-id", identity.encode())]
            if told := service.pressure.told:
                head.append((_PRESSED, b"%.3f" % told))
            await send({"type": "http.response.start", "status": status, "headers": head})
            await send({"type": "http.response.body", "body": body})
            if status == 200:
                service.metrics.stages({**stages, "send": perf_counter() - start})
        except asyncio.CancelledError:
            if _GONE not in state:
                raise
            status = CALLER_LEFT  # what would be sent would not be read
        finally:
            if seat:
                seat.leave()
            service.waits.ended(came, answered=status == 200)
            face.count(status)
            took = (now := monotonic()) - came
            face.seconds.observe(took)
            if status == 200:
                service.metrics.latest.append((now, took))

    def demand_token(self, headers: Mapping[bytes, bytes], peer: Peer | None) -> None:
        """Raise `Unauthorized` without the token, where there is one; a tier below is known by its certificate."""
        wanted = self._authorization
        if wanted and not self.service.knows(peer) and not compare_digest(headers.get(b"authorization", b""), wanted):
            raise Unauthorized("the bearer token is missing or wrong; expected `Authorization: Bearer TOKEN`")

    async def _answer(
        self,
        face: Face,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        came: float,
        budget_ms: float | None,
        receive: Receive,
        seat: Seat,
        stages: dict[str, float],
    ) -> tuple[Head, bytes]:
        # `perf_counter` has its own zero: what was before this line is known by the clock that noted the arrival.
        first, service, state = perf_counter() - (monotonic() - came), face.service, scope["state"]
        allowed_ms = service.settings.deadline_ms if budget_ms is None else budget_ms
        body = await self._body(face.limits, state, headers, came + allowed_ms / 1000, seat.counted(receive))
        received = perf_counter()
        seat.unpacked(len(body))
        seat.sit()
        length = headers.get(_HEADER_LENGTH)
        if length is None and is_photograph(body, headers):
            if not service.takes_pictures:
                raise BadInput(f"the body is a picture; this {service.tier} takes {', '.join(service.input_names)}")
            request = picture_request(body, scope["query_string"], headers)
        else:
            request = decode_request(body, None if length is None else length.decode("latin-1"), face.limits)
        options = self.asked(face, request, headers, came, budget_ms, seat, state)
        decoded = perf_counter()
        answers = await self.decide(face, request, options, first)
        answered = perf_counter()
        content, head = encode_answers(answers, request, need_features=service.need_features, names=service.class_names)
        stages |= {"receive": received - first, "decode": decoded - received}
        for stage in options.stages:
            stages[stage.name] = stages.get(stage.name, 0.0) + stage.seconds
        stages["decide"] = max(0.0, answered - decoded - sum(stage.seconds for stage in options.stages))
        if block := service.settings.pad_bytes:
            named = {name.decode(): value.decode() for name, value in head}
            content, named = padded(content, named, block)
            head = [(name.encode(), value.encode()) for name, value in named.items()]
        own = [f"{service.tier}-{stage};dur={1000 * seconds:.3f}" for stage, seconds in stages.items()]
        timing = ", ".join([*own, *options.upper_timings]).encode("latin-1")
        stages["encode"] = perf_counter() - answered
        head = [*head, (b"content-length", b"%d" % len(content))]
        # Its stages are those that the event went through: where sizes may not tell the exit, nor may it.
        return head if block else [*head, (b"server-timing", timing)], content

    def asked(
        self,
        face: Face,
        request: InferRequest,
        headers: Mapping[bytes, bytes],
        came: float,
        budget_ms: float | None,
        seat: Seat,
        state: Mapping[str, Any],
    ) -> RequestOptions:
        """What a request asks besides its tensors, for which there is room; raise `DDNNError`."""
        seat.rows(max((array.shape[0] for array in request.inputs.values() if array.ndim), default=0))
        if request.outputs:
            request.refuse_unknown_outputs(face.outputs)
        return read_options(
            request,
            headers,
            arrived=came,
            budget_ms=budget_ms,
            default_ms=face.service.settings.deadline_ms,
            most_ms=self.most_ms,
            bundle=face.bundle,
            exits=face.exits,
            request_id=state["request_id"],
            peer=state.get("peer"),
            caller=state["caller"],
        )

    async def decide(self, face: Face, request: InferRequest, options: RequestOptions, began: float) -> list[Answer]:
        """Its answers, a row each; raise `DDNNError`. It `began` then, by `time.perf_counter`."""
        late = face.service.metrics.late_answer
        if options.deadline <= monotonic():
            late.inc()
            raise DeadlineExceeded("the deadline had passed before there was anything to answer with")
        if self._traces is None or not self._traces.picks(options, request):
            answers = await self.faces.infer(face, request, options)
        else:
            with self._traces.request(options, request, began) as traced:
                answers = await self.faces.infer(face, request, options)
                traced += answers
        if options.late:
            late.inc(options.late)
        return answers

    async def _body(
        self,
        limits: Limits,
        state: Mapping[str, Any],
        headers: Mapping[bytes, bytes],
        deadline: float,
        receive: Receive,
    ) -> bytes:
        limit = limits.body_bytes if _HEADER_LENGTH in headers else limits.json_bytes
        if state.get("whole"):  # it is there, and needs no timer
            return await read_body(receive, headers, limit)
        try:
            async with asyncio.timeout_at(deadline):
                return await read_body(receive, headers, limit)
        except TimeoutError as error:
            self.service.metrics.late_answer.inc()
            raise DeadlineExceeded("the deadline had passed before the body was there") from error


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    """Read at most `limit` bytes, after unpacking; raise `TooLarge`, `UnsupportedEncoding` or `BadInput`."""
    encoding = headers.get(b"content-encoding", b"").strip().lower().removeprefix(b"x-")
    if encoding not in (b"", b"identity", b"gzip", b"deflate"):
        found = headers[b"content-encoding"][:40].decode("latin-1")
        raise UnsupportedEncoding(f"Content-Encoding is {found!r}; expected one of {_ENCODINGS.decode()}, or none")
    packed = encoding in (b"gzip", b"deflate")
    stated = headers.get(b"content-length", b"0")
    if stated.isdigit() and int(stated) > limit:
        raise TooLarge(f"the body is {int(stated)} bytes; expected at most {limit}")
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadInput(f"the caller left after {len(body)} bytes of the body")
        chunk, more = message.get("body", b""), message.get("more_body", False)
        if len(body) + len(chunk) > limit:
            raise TooLarge(f"the body is over {limit} bytes; expected at most that")
        if not more and not body and not packed:
            return bytes(chunk)  # all at once, as most are: bytes stay as they are, without a copy
        body += chunk
    if not packed:
        return bytes(body)
    return gunzip(bytes(body), limit) if encoding == b"gzip" else _inflate(bytes(body), limit)


def gunzip(packed: bytes, limit: int) -> bytes:
    """Unpack all members; their number is bounded, as each copies what follows it."""
    body = b""
    for _ in range(_MEMBERS):
        member, packed = _unpack(packed, limit, _GZIP, "gzip", taken=len(body))
        body += member
        if not packed:
            return body
    raise BadInput(f"the gzip body has more than {_MEMBERS} members; expected fewer")


def _inflate(packed: bytes, limit: int) -> bytes:
    """Unpack deflate, in zlib's envelope as the standard has it, or without one as some clients write it."""
    # The envelope's first two bytes: method 8, and a check sum.
    enveloped = len(packed) > 1 and packed[0] & 15 == 8 and int.from_bytes(packed[:2], "big") % 31 == 0
    body, rest = _unpack(packed, limit, _ZLIB if enveloped else _RAW, "deflate")
    if rest:
        raise BadInput(f"the deflate body has {len(rest)} bytes after its end; expected none")
    return body


def _unpack(packed: bytes, limit: int, envelope: int, name: str, taken: int = 0) -> tuple[bytes, bytes]:
    """What is packed once, at most `limit` bytes with the `taken` ones before it, and what follows it."""
    unzip = zlib.decompressobj(envelope)
    try:
        body = unzip.decompress(packed, limit + 1 - taken)
    except zlib.error as error:
        raise BadInput(f"the body is not valid {name}: {error}") from error
    if taken + len(body) > limit:
        raise TooLarge(f"the body is over {limit} bytes after {name}; expected at most that")
    if not unzip.eof:
        raise BadInput(f"the {name} body is cut short")
    return body, unzip.unused_data
