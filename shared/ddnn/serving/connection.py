"""One connection: httptools' protocol with bounded heads, bodies, waits and callers, and one write a response.

This builds on internals of uvicorn's protocol, which is why its version is bounded.
"""

import asyncio
import secrets
import time
from collections.abc import Iterator
from typing import Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ddnn.errors import BadInput, DDNNError, DeadlineExceeded, Unavailable
from ddnn.identity import Peer
from ddnn.serving.doors import PROBED, Door
from ddnn.serving.http import App, caller_left, refusal
from ddnn.serving.shares import caller_of
from ddnn.serving.streaming import offers, upper_end
from ddnn.serving.turnstile import MOST_BODY

__all__ = ["BoundedHeads", "OneWrite"]

_BYTES: Final = 32 << 10
_HEADERS: Final = 100
_SECONDS: Final = 10.0
_PROBE_S: Final = 2.0
_UNREAD_S: Final = 10.0  #: how long a caller may let an answer wait
_PIPELINED: Final = 8  #: requests that may come before the first is answered
_PIPELINED_BYTES: Final = 16 << 10  #: of the bodies of those, each
_EARLY: Final = b"HTTP/1.1 "  #: what every response begins with
_EARLY_S: Final = 0.1
_OF_OFFERS: Final = {
    b"upgrade",
    b"http2-settings",
}  #: headers, and words of `Connection`, that only offer another protocol


class OneWrite:
    """A transport that writes head and body of a response at once: a second system call costs as much as decoding.

    A response may begin early, byte by byte, with what every one of them begins with.
    """

    def __init__(self, transport: asyncio.Transport, protocol: HttpToolsProtocol) -> None:
        self._transport = transport
        self._protocol: HttpToolsProtocol | None = protocol
        self._begun: object = None
        self._head = b""
        self._early = 0  # bytes of the next response that are out

    def write(self, data: bytes) -> None:
        cycle = self._protocol.cycle if self._protocol else None
        if self._early:
            data, self._early = data[self._early :], 0
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif cycle is not None and cycle.response_started and cycle is not self._begun:
            self._begun, self._head = cycle, data
        else:
            self._transport.write(data)

    def begin_early(self) -> None:
        """Write one more byte of the next response, if it has not begun."""
        if self._early < len(_EARLY):
            self._transport.write(_EARLY[self._early : self._early + 1])
            self._early += 1

    def flush(self) -> None:
        """Write a head that no body follows: that of a `HEAD`."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    @property
    def bare(self) -> asyncio.Transport:
        """What is below it."""
        return self._transport

    def forget_protocol(self) -> None:
        """The connection was lost: who holds the other would else be garbage that only the collector finds."""
        self._protocol = self._begun = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedHeads(HttpToolsProtocol):
    """Refuses a head over 32 kB, over 100 headers, or not there within 10 s; slow bodies and readers; too many callers.

    Notes when a request's first byte came, and when its caller leaves before it is answered. Goes on as a stream where
    one is offered, and declines every other upgrade.
    """

    _peer: Peer | None = None  # what its certificate says
    _in_head = False
    _head_bytes = _head_came = 0  # of names and values, and of all that came with it
    _head_timer: asyncio.TimerHandle | None = None
    _offered = False  # this head offers another protocol; it is read again, without that
    _early_timer: asyncio.TimerHandle | None = None
    _in_body = False
    _body_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _held: bytearray | None = None  # the body of a request that may be refused once it is there
    _door: Door

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, OneWrite(transport, self)))
        if secure := transport.get_extra_info("ssl_object"):
            self._peer = Peer.of(secure.getpeercert())
            self._door = transport.get_extra_info("door")
        else:
            self._door = self._state.doors.enter(transport, transport.abort)
        self._begin_head()

    @property
    def _state(self) -> Any:
        """That of the application."""
        return self.config.app.state  # type: ignore[union-attr]

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        self._end_body()
        for timer in (self._early_timer, self._unread_timer):
            if timer:
                timer.cancel()
        if self.scheme != "https":
            self._door.leave()
        if self.cycle and not self.cycle.response_complete:
            caller_left(self.cycle.scope["state"])
        super().connection_lost(exc)
        cast(OneWrite, self.transport).forget_protocol()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        state = self.scope["state"]
        state["arrived"], state["peer"] = time.monotonic(), self._peer
        self._end_head()
        self._begin_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if len(self.headers) >= _HEADERS or self._head_bytes > _BYTES:
            raise ValueError("the head is too large")  # the parser stops; `send_400_response` answers
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._end_head()
        self._offered = self.parser.should_upgrade()
        if not self._offered:
            if len(self.pipeline) >= _PIPELINED:
                raise ValueError("too many requests come before the first is answered")
            probes = self.parser.get_method() in (b"GET", b"HEAD") and self.url.partition(b"?")[0].decode() in PROBED
            if self._door.probe and not probes:
                raise ValueError("there is room for probes only")
            self._in_body = True
            turnstile = self._state.turnstile
            if turnstile.closes(self.parser.get_method(), self.url, self.headers) and self._waits_for_nothing:
                self._held = bytearray()
                return
            self._go_on()
        elif self.parser.get_method() == b"CONNECT":
            raise ValueError("this is no proxy")

    @property
    def _waits_for_nothing(self) -> bool:
        """Whether a response now would be the one that is expected next, on a connection that stays."""
        idle = self.cycle is None or self.cycle.response_complete
        return idle and not self._door.probe and self.parser.should_keep_alive()

    def _go_on(self) -> None:
        super().on_headers_complete()
        if self._door.probe:
            self.cycle.keep_alive = False

    def _let_in(self) -> None:
        """A request that was held back until its body was there goes the way of others."""
        held, self._held = self._held, None
        if held is not None:
            self._go_on()
            if held:
                super().on_body(bytes(held))

    def on_message_complete(self) -> None:
        if self._offered:
            return
        if self._held is not None:
            refused = self._state.turnstile.refusal(self.headers, bytes(self._held))
            if refused is not None:
                self._held = None
                self._end_body()
                self.transport.write(refused)
                self._unset_keepalive_if_required()
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )
                return
            self._let_in()
        self.scope["state"]["whole"] = True  # no timer is needed to wait for the body
        self._end_body()
        super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        if self._held is not None and len(self._held) + len(body) <= MOST_BODY:
            self._held += body
            return
        self._let_in()
        if self.pipeline and len(self.cycle.body) + len(body) > _PIPELINED_BYTES:
            raise ValueError("the body comes before the request before it is answered")
        super().on_body(body)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(_UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread_timer:
            self._unread_timer.cancel()
            self._unread_timer = None

    def on_response_complete(self) -> None:
        cast(OneWrite, self.transport).flush()
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        began_in_head = self._in_head
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.send_400_response("")
            return
        if self.transport.get_protocol() is not self:  # a stream from here on
            return
        self._let_in()  # the rest of its body is still on its way
        if began_in_head and self._in_head and not self.transport.is_closing():
            # One header may be still coming, so no callback has counted it.
            self._head_came += len(data)
            if self._head_came > 2 * _BYTES:
                self.send_400_response("")
        elif self._in_body and self._body_timer is None:
            limit_s = self._state.service.settings.max_deadline_ms / 1000
            self._body_timer = self.loop.call_later(limit_s, self._give_body_up)

    def _parse(self, data: bytes) -> None:
        """Parse; where a head offers another protocol, once more without the offer, which ended the parser's work."""
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                method, data = self.parser.get_method(), data[offer.args[0] :]
                if method == b"GET" and self._goes_on_as_stream(data):
                    return
                lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
                lines += [b"%b: %b" % header for header in _without_offer(self.headers)]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
                self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))

    def _goes_on_as_stream(self, data: bytes) -> bool:
        """Whether the head offers a stream, which is taken, or refused; `data` has come after it."""
        app, headers = cast(App, self.config.app), dict(self.headers)
        idle = self.cycle is None or self.cycle.response_complete
        if not idle or self._door.probe or not offers(app, self.url, headers):
            return False
        door = None if self.scheme == "https" else self._door
        caller = caller_of(self.scope, self._peer)
        left = self.connections.discard
        try:
            upper = upper_end(app, headers, peer=self._peer, caller=caller, door=door, left=left)
        except DDNNError as error:
            self._refuse(error)
            return True
        raw = cast(OneWrite, self.transport).bare
        self._end_head()
        self.connections.discard(self)
        self.connections.add(cast(Any, upper))  # which is asked to end as this would be
        cast(OneWrite, self.transport).forget_protocol()
        raw.set_protocol(upper)
        upper.connection_made(raw)
        if data:
            upper.data_received(data)
        return True

    def eof_received(self) -> bool:  # type: ignore[override]
        """The caller sends no more: what it has asked is answered all the same, and then the connection closes.

        An end of file does not tell a caller that still reads from one that has left. The second's machine answers any
        byte with a reset, and the next byte finds that; so the response begins early, a byte at a time.
        """
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        if cycle.more_body and not cycle.response_started:
            self._refuse(BadInput("the caller closed its half of the connection before its body was whole"))
            return False
        cycle.keep_alive = False
        self._early_timer = self.loop.call_later(_EARLY_S, self._begin_early)
        return True

    def _begin_early(self) -> None:
        if not self.pipeline and not self.cycle.response_started:
            cast(OneWrite, self.transport).begin_early()
        self._early_timer = self.loop.call_later(_EARLY_S, self._begin_early)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, or what there is no room for, with the one error body, and close."""
        if self._door.probe:
            self._refuse(self._no_room())
            return
        if self.pipeline:  # an answer now would be taken for that to the request before
            self.transport.close()
            return
        most = f"{_HEADERS} headers of {_BYTES >> 10} kB together"
        self._refuse(BadInput(f"this is not an HTTP/1.1 request with at most {most}"))

    def _refuse(self, error: DDNNError) -> None:
        tier = self._state.service.tier
        pairs, body = refusal(error, tier=tier, request=secrets.token_hex(16))
        head = [b"%b: %b\r\n" % pair for pair in (*pairs, (b"connection", b"close"))]
        self.transport.write(b"".join([STATUS_LINE[error.status], *head, b"\r\n", body]))
        self.transport.close()

    def _begin_head(self) -> None:
        self._in_head, self._head_bytes, self._head_came = True, 0, 0
        if self._door.probe:
            self._head_timer = self.loop.call_later(_PROBE_S, lambda: self._refuse(self._no_room()))
        else:
            self._head_timer = self.loop.call_later(_SECONDS, self.transport.close)

    def _no_room(self) -> DDNNError:
        count = self._state.doors.connections.held
        return Unavailable(f"{count} connections are open here already; keep few, and keep them open")

    def _give_body_up(self) -> None:
        if self.cycle.response_started:
            self.transport.close()
        else:
            self._refuse(DeadlineExceeded("the body was not there in the longest time that a request may take"))

    def _end_body(self) -> None:
        self._in_body = False
        if self._body_timer:
            self._body_timer.cancel()
            self._body_timer = None

    def _end_head(self) -> None:
        self._in_head = False
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None


def _without_offer(headers: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The headers of a request that offers no other protocol."""
    for name, value in headers:
        if name == b"connection":
            words = [word for word in value.split(b",") if word.strip().lower() not in _OF_OFFERS]
            if words:
                yield name, b",".join(words)
        elif name not in _OF_OFFERS:
            yield name, value
