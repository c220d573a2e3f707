"""The upper end of a stream: what a tier below asks on its connection goes the way of what comes by HTTP.

The same admission, deadlines, identity, budgets, counts and refusals; only heads and bodies are others.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from time import monotonic, perf_counter
from typing import Any, Final, cast

from ddnn.connections import kept_alive
from ddnn.errors import BadInput, DDNNError, Forbidden, Unavailable
from ddnn.identity import Peer
from ddnn.serving.admission import Seat
from ddnn.serving.doors import Door
from ddnn.serving.http import CALLER_LEFT, App, error_of_ours, gunzip
from ddnn.serving.request import request_id
from ddnn.serving.room.report import MOST_REPORT, TIER_HEADER, Reports
from ddnn.stream.asks import Ask, AskReader
from ddnn.stream.frames import PATH, PRESSED, PROTOCOL, Down, Refused, Up, bulletin, credit, framed, refusal
from ddnn.stream.line import Line
from ddnn.stream.rows import answered
from ddnn.stream.varints import Reader
from ddnn.types import Exit, Tier

__all__ = ["Upper", "offers", "upper_end"]

_SECTIONS: Final = frozenset(exit.value for exit in Exit)
_UNCOUNTED: Final = 64 << 10  #: bytes of a frame that is not whole, which count in no share
_AGAIN_S: Final = 0.05  #: until there may be room again
_UNREAD_S: Final = 10.0  #: how long a tier below may let answers wait
_SWITCHED: Final = f"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {PROTOCOL}\r\n\r\n".encode()


def offers(app: App, path: bytes, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a head offers a stream, and this tier takes any."""
    service = app.service
    asked = path == PATH.encode() and headers.get(b"upgrade", b"").lower() == PROTOCOL.encode()
    return asked and service.below is not None and not service.settings.pad_bytes


def upper_end(
    app: App, headers: Mapping[bytes, bytes], *, peer: Peer | None, caller: str, door: Door | None, left: Any
) -> "Upper":
    """What serves a stream from now on; raise `DDNNError` where it is refused. `left` hears of its end."""
    service, header = app.service, headers.get(TIER_HEADER.encode(), b"").decode("latin-1")
    app.demand_token(headers, peer)
    if service.draining:
        raise Unavailable("this tier is shutting down; ask another one, or again in a second")
    assert service.below
    if service.identity and not (peer and service.knows(peer) and header == f"{peer.name.tier}/{peer.name.index}"):
        raise Forbidden(f"a stream is for {service.child}s alone, by their certificates")
    child = service.below.heard(header)
    if child is None:
        raise BadInput(f"{TIER_HEADER} is {header[:40]!r}; expected one of this tier's {service.child}s")
    return Upper(app, headers, peer=peer, caller=caller, child=child, door=door, left=left)


class Upper(Line):
    """One connection of one tier below."""

    def __init__(
        self,
        app: App,
        headers: Mapping[bytes, bytes],
        *,
        peer: Peer | None,
        caller: str,
        child: int,
        door: Door | None,
        left: Callable[["Upper"], object],
    ) -> None:
        super().__init__(max(face.limits.body_bytes for face in app.faces.all), app.service.children - 1)
        self._app, self._peer, self._caller, self._child = app, peer, caller, child
        self._door, self._left = door, left
        self._headers = {name: headers[name] for name in (b"x-ddnn-bundle",) if name in headers}
        self._who = peer.name.uri if peer else caller
        self._reader = AskReader(app.service.settings.max_batch)
        self._credit = app.service.settings.max_in_flight
        self._asked: dict[int, asyncio.Task[None]] = {}
        self._cancelled: set[int] = set()
        self._held = 0  # bytes of a frame that is not whole
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._late: asyncio.TimerHandle | None = None
        self._ending = False
        self._there = ExitStack()

    def connection_made(self, made: asyncio.BaseTransport) -> None:
        """The connection, on which HTTP was spoken until now."""
        transport = cast(asyncio.Transport, made)
        below = self._app.service.below
        assert below
        if sock := transport.get_extra_info("socket"):
            kept_alive(sock)
        transport.write(_SWITCHED)
        self.begin(transport)
        self._there.enter_context(below.waits(self._child))
        peer: Any = transport.get_extra_info("peername")
        self._there.enter_context(below.line(self._child, peer[0] if peer else "", transport.abort))
        self._there.callback(below.bulletin.listen(self._tell))
        self._there.callback(self._app.service.pressure.listen(self._tell))
        self._app.service.metrics.streams.inc()
        self._there.callback(self._app.service.metrics.streams.dec)
        self.send(credit(self._credit))
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        self._there.close()
        for timer in (self._timer, self._unread, self._late):
            if timer:
                timer.cancel()
        self._hold(0)
        for number, task in self._asked.items():
            self._cancelled.add(number)
            task.cancel()
        if self._door:
            self._door.leave()
        self._left(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        below = self._app.service.below
        if below:
            below.here(self._child)
        waiting = self.cut.waiting
        if not waiting:
            if self._late:
                self._late.cancel()
                self._late = None
        elif self._late is None and self.transport:
            limit_s = self._app.service.settings.max_deadline_ms / 1000
            self._late = self._loop.call_later(limit_s, self.transport.abort)
        if waiting > _UNCOUNTED or self._held:
            self._hold(waiting)
            shares = self._app.faces.first.admission.bytes
            if waiting and not shares.fits(self._caller, 1) and self.transport and self._timer is None:
                self.transport.pause_reading()
                self._timer = self._loop.call_later(_AGAIN_S, self._read_on)

    def eof_received(self) -> bool:
        return False  # nothing would read an answer

    def pause_writing(self) -> None:
        if self._unread is None and self.transport:
            self._unread = self._loop.call_later(_UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        if self._unread:
            self._unread.cancel()
            self._unread = None

    def shutdown(self) -> None:
        """Close, once what is asked has its answer."""
        self._ending = True
        self._close_if_done()

    def nonsense(self, error: BadInput) -> None:
        self._app.service.trail.refused(error.code, self._who)
        self.send(refusal(Refused(0, error.status, 0, error.code, str(error))))
        self.flush()
        if self.transport:
            self.transport.close()

    def take(self, kind: int, payload: bytes) -> None:
        what = kind & 15
        if what == Up.ASK:
            self._take(self._reader.read(kind, payload), len(payload))
        elif what == Up.DESCRIBE:
            self._reader.describe(payload)
        elif what == Up.CANCEL:
            number = Reader(payload).number()
            if task := self._asked.get(number):
                self._cancelled.add(number)
                task.cancel()
        elif what == Up.TELL:
            self._report(payload)
        elif what == Up.PING:
            self.send(framed(Down.PONG))
        else:
            raise BadInput(f"a frame has the kind {what}; expected one of {', '.join(map(str, Up))}")

    def _report(self, packed: bytes) -> None:
        """Take a report; one that makes no sense, or is of others, is passed over."""
        service = self._app.service
        try:
            reports = Reports.read(gunzip(packed, MOST_REPORT))
            service.demand(self._peer, reports.tiers[0].index)
            if service.below:
                service.below.take(reports)
        except DDNNError as error:
            service.trail.refused(error.code, self._who)

    def _take(self, ask: Ask, size: int) -> None:
        if ask.number in self._asked:
            raise BadInput(f"the number {ask.number} is that of a request without an answer; expected another")
        if len(self._asked) >= self._credit:
            raise BadInput(f"{self._credit} requests are without an answer already; expected no more")
        self._asked[ask.number] = self._loop.create_task(self._answer(ask, size, monotonic()))

    async def _answer(self, ask: Ask, size: int, came: float) -> None:
        app, first = self._app, perf_counter()
        face = app.faces.of(self._headers)
        service, status, seat = face.service, 500, None
        identity = request_id(ask.request_id)
        state: dict[str, Any] = {"request_id": identity, "caller": self._caller, "peer": self._peer}
        headers = {**self._headers, b"traceparent": ask.traceparent} if ask.traceparent else self._headers
        service.waits.began(came)
        try:
            try:
                budget_ms = min(float(ask.deadline_ms), app.most_ms)
                seat = face.admission.admit({}, came, budget_ms, self._caller)
                frame = await self._decided(face, ask, headers, came, budget_ms, state, seat, size, first)
                status = 200
            except Exception as caught:
                error = caught if isinstance(caught, DDNNError) else error_of_ours(caught, identity)
                service.trail.refused(error.code, self._who)
                status = error.status
                wait = face.admission.retry_after() if status in (429, 503) else 0
                frame = refusal(Refused(ask.number, status, wait, error.code, str(error)))
        except asyncio.CancelledError:
            if ask.number not in self._cancelled:
                raise
            status = CALLER_LEFT
            frame = refusal(Refused(ask.number, status, 0, "CANCELLED", ""))
        finally:
            if seat:
                seat.leave()
            service.waits.ended(came, answered=status == 200)
            self._cancelled.discard(ask.number)
            del self._asked[ask.number]
            face.count(status)
            took = (now := monotonic()) - came
            face.seconds.observe(took)
            if status == 200:
                service.metrics.latest.append((now, took))
        self.send(frame)
        self._close_if_done()

    async def _decided(
        self,
        face: Any,
        ask: Ask,
        headers: Mapping[bytes, bytes],
        came: float,
        budget_ms: float,
        state: dict[str, Any],
        seat: Seat,
        size: int,
        first: float,
    ) -> bytes:
        """The frame of an answer; raise `DDNNError`."""
        service = face.service
        seat.take(size)
        seat.sit()
        options = self._app.asked(face, ask.request, headers, came, budget_ms, seat, state)
        decoded = perf_counter()
        answers = await self._app.decide(face, ask.request, options, first)
        done = perf_counter()
        worked: float | None = None
        stages = {"decode": decoded - first}
        for stage in options.stages:
            stages[stage.name] = stages.get(stage.name, 0.0) + stage.seconds
        stages["decide"] = max(0.0, done - decoded - sum(stage.seconds for stage in options.stages))
        if service.tier is Tier.CLOUD:  # the edge's escalation budget counts it
            worked = sum(stage.seconds for stage in options.stages if stage.name in _SECTIONS)
        frame = answered(ask.number, answers, worked)
        service.metrics.stages({**stages, "encode": perf_counter() - done})
        return frame

    def _tell(self) -> None:
        below = self._app.service.below
        if below:
            told = self._app.service.pressure.told
            self.send(bulletin({**below.bulletin.facts, PRESSED: f"{told:.3f}" if told else ""}))

    def _close_if_done(self) -> None:
        if self._ending and not self._asked and self.transport:
            self.flush()
            self.transport.close()

    def _hold(self, size: int) -> None:
        self._app.faces.first.admission.bytes.take(self._caller, size - self._held)
        self._held = size

    def _read_on(self) -> None:
        self._timer = None
        if self.transport:
            self.transport.resume_reading()
