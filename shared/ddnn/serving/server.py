"""uvicorn as our measurements ask for, and its httptools protocol with bounded heads and one write a response.

This builds on internals of that protocol, which is why uvicorn's version is bounded.
"""

import asyncio
import gc
import logging
import resource
import secrets
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address
from types import FrameType
from typing import Any, Final, cast

import httptools
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ddnn.connections import check_certificate
from ddnn.errors import BadConfig, BadInput, DDNNError, Unavailable
from ddnn.identity import Peer
from ddnn.serving.http import caller_left, refusal
from ddnn.serving.service import Service
from ddnn.settings import Settings

__all__ = ["BoundedHeads", "OneWrite", "serve_app"]

_log = logging.getLogger("ddnn")
_BACKLOG = 128
_LAST_WORDS_S = 2  #: for the answers that are given when the drain is over to get out
_KEEP_ALIVE_S = 75  #: longer than any client of ours keeps an idle connection
_BYTES: Final = 64 << 10
_HEADERS: Final = 100
_SECONDS: Final = 10.0
_CONNECTIONS: Final = 4096  #: each costs some kilobytes
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

    def forget_protocol(self) -> None:
        """The connection was lost: who holds the other would else be garbage that only the collector finds."""
        self._protocol = self._begun = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedHeads(HttpToolsProtocol):
    """Refuses a head over 64 kB, over 100 headers, or not there within 10 s; and too many callers.

    Notes when a request's first byte came, and when its caller leaves before it is answered; declines every upgrade.
    """

    _peer: Peer | None = None  # what its certificate says
    _in_head = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _offered = False  # this head offers another protocol; it is read again, without that
    _early_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, OneWrite(transport, self)))
        if secure := transport.get_extra_info("ssl_object"):
            self._peer = Peer.of(secure.getpeercert())
        if len(self.connections) > _CONNECTIONS:
            self._refuse(Unavailable(f"{_CONNECTIONS} connections are open here already; keep few, and keep them open"))
        else:
            self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        if self._early_timer:
            self._early_timer.cancel()
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
            super().on_headers_complete()
        elif self.parser.get_method() == b"CONNECT":
            raise ValueError("this is no proxy")

    def on_message_complete(self) -> None:
        if self._offered:
            return
        self.scope["state"]["whole"] = True  # no timer is needed to wait for the body
        super().on_message_complete()

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
        if began_in_head and self._in_head and not self.transport.is_closing():
            # One header may be still coming, so no callback has counted it.
            self._head_bytes += len(data)
            if self._head_bytes > 2 * _BYTES:
                self.send_400_response("")

    def _parse(self, data: bytes) -> None:
        """Parse; where a head offers another protocol, once more without the offer, which ended the parser's work."""
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                method, data = self.parser.get_method(), data[offer.args[0] :]
                lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
                lines += [b"%b: %b" % header for header in _without_offer(self.headers)]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
                self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))

    def eof_received(self) -> bool:  # type: ignore[override]
        """The caller sends no more: what it has asked is answered all the same, and then the connection closes.

        An end of file does not tell a caller that still reads from one that has left. The second's machine answers any
        byte with a reset, and the next byte finds that; so the response begins early, a byte at a time.
        """
        cycle = self.cycle
        if cycle is None or cycle.response_complete or self.scheme == "https":  # there the end is that of both halves
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
        """Answer what is no request with the one error body, and close."""
        most = f"{_HEADERS} headers of {_BYTES >> 10} kB together"
        self._refuse(BadInput(f"this is not an HTTP/1.1 request with at most {most}"))

    def _refuse(self, error: DDNNError) -> None:
        tier = self.config.app.state.service.tier  # type: ignore[union-attr]
        pairs, body = refusal(error, tier=tier, request=secrets.token_hex(16))
        head = [b"%b: %b\r\n" % pair for pair in (*pairs, (b"connection", b"close"))]
        self.transport.write(b"".join([STATUS_LINE[error.status], *head, b"\r\n", body]))
        self.transport.close()

    def _begin_head(self) -> None:
        self._in_head, self._head_bytes = True, 0
        self._head_timer = self.loop.call_later(_SECONDS, self.transport.close)

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


class _Server(uvicorn.Server):
    """Drains: takes nothing new, lets what it has be finished, answers the rest with what there is, then ends."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._told: tuple[int, FrameType | None] | None = None
        self._until = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._told:  # asked twice: at once
            super().handle_exit(sig, frame)
        self._told = sig, frame
        self._until = time.monotonic() + self._service.settings.drain_s
        self._service.draining = True

    async def on_tick(self, counter: int) -> bool:
        if self._told and not self.should_exit and (self._service.idle or time.monotonic() > self._until):
            self._service.give_up()
            super().handle_exit(*self._told)
        return await super().on_tick(counter)


def serve_app(app: FastAPI, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain; raise `BadConfig` for an address or certificate that does not work."""
    if settings.tls_certificate or settings.tls_key:
        check_certificate(settings.tls_certificate, settings.tls_key)
    service: Service = app.state.service
    config = uvicorn.Config(
        app,
        http=BoundedHeads,
        access_log=False,
        proxy_headers=False,  # nothing asks who the caller says it is
        log_config=None,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_LAST_WORDS_S,
        server_header=False,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    if service.identity:
        config.load()
        config.ssl = service.identity.server
    _allow_files()
    # What is loaded stays: a full collection that walks all of it stops a tier, and six alike at once, for 100 ms.
    gc.collect()
    gc.freeze()
    # Next to nothing here is garbage in cycles: looking for it every 700 objects takes a twentieth of a request's time.
    gc.set_threshold(5_000, 10, 5)
    sock = _bind(settings.host, settings.port)
    host, port = sock.getsockname()[:2]  # port 0 has become one
    _log.info("listens on %s port %d", host, port)
    _tell_doors(settings, host)
    _Server(config, service).run(sockets=[sock])


def _tell_doors(settings: Settings, host: str) -> None:
    """Log what a tier that other machines reach should have and has not."""
    secure = settings.identity or settings.tls_certificate
    if ip_address(host.partition("%")[0]).is_loopback:
        if not secure:
            _log.info("serves plain HTTP, on loopback only; DDNN_IDENTITY is for more than one machine")
        return
    if settings.token is None:
        _log.warning("%s is no loopback address, and DDNN_TOKEN is not set: this tier answers whoever reaches it", host)
    if not secure:
        lack = "DDNN_IDENTITY is not set: what comes and goes can be read and changed on its way"
        _log.warning("%s is no loopback address, and %s", host, lack)


def _bind(host: str, port: int) -> socket.socket:
    """Listen before anything else, so that a port in use is a sentence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as error:
        sock.close()
        raise BadConfig(f"{host}:{port} cannot be bound ({error}); expected a free port of this machine") from error
    return sock


def _allow_files() -> None:
    """Every connection is an open file: take what the system grants."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
