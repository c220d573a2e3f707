"""uvicorn, with the settings that our measurements ask for."""

import gc
import logging
import resource
import socket
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI

from ddnn.errors import BadConfig
from ddnn.serving.base import Service
from ddnn.serving.heads import BoundedHeads
from ddnn.settings import Settings
from ddnn.tls import check_certificate

__all__ = ["serve_app"]

_log = logging.getLogger("ddnn")
_BACKLOG = 128
_LAST_WORDS_S = 2
"""For the answers that are given when the drain is over to get out."""
_KEEP_ALIVE_S = 75  # longer than any client of ours keeps an idle connection


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
    """Serve until SIGTERM or SIGINT, then drain.

    Raise `BadConfig` when the address cannot be bound, or the certificate cannot be shown.
    """
    if settings.tls_certificate or settings.tls_key:
        check_certificate(settings.tls_certificate, settings.tls_key)
    config = uvicorn.Config(
        app,
        http=BoundedHeads,
        access_log=False,
        proxy_headers=False,  # nobody asks who the caller says it is
        log_config=None,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_LAST_WORDS_S,
        server_header=False,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
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
    _Server(config, app.state.service).run(sockets=[sock])


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
