"""uvicorn as our measurements ask for, over TLS where there is a certificate, and how it ends."""

import asyncio
import gc
import logging
import resource
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from types import FrameType
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from ddnn.connections import check_certificate
from ddnn.errors import BadConfig
from ddnn.serving.connection import BoundedHeads
from ddnn.serving.secure import Secure
from ddnn.serving.service import Service
from ddnn.settings import Settings

__all__ = ["over_tls", "serve_app"]

_log = logging.getLogger("ddnn")
_BACKLOG = 128  #: of each child: a burst of events opens a connection an event, of all children at the same time
_LAST_WORDS_S = 2  #: for the answers that are given when the drain is over to get out
_KEEP_ALIVE_S = 75  #: longer than any client of ours keeps an idle connection


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
        if self._told and self._service.below:
            self._service.below.bulletin.close()
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
        http=cast(Any, _protocol(_context(service))),
        access_log=False,
        proxy_headers=False,  # nothing asks who the caller says it is
        log_config=None,
        backlog=_BACKLOG * service.children,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_LAST_WORDS_S,
        server_header=False,
    )
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


def _context(service: Service) -> ssl.SSLContext | None:
    """What https is served with, if it is."""
    settings = service.settings
    if service.identity:
        return service.identity.server
    if settings.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    return context


def over_tls(context: ssl.SSLContext) -> Callable[..., asyncio.Protocol]:
    """Makes what a connection is served by, over TLS."""

    def made(config: uvicorn.Config, *given: Any, **named: Any) -> asyncio.Protocol:
        state = config.app.state  # type: ignore[union-attr]
        return Secure(context, state.doors, partial(BoundedHeads, config, *given, **named))

    return made


def _protocol(context: ssl.SSLContext | None) -> Callable[..., asyncio.Protocol]:
    return BoundedHeads if context is None else over_tls(context)


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
