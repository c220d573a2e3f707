"""uvicorn, with the settings that our measurements ask for."""

import gc
import resource
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from ddnn.errors import BadConfig
from ddnn.service.base import Service
from ddnn.settings import Settings

__all__ = ["serve_app"]

_BACKLOG = 128
_KEEP_ALIVE_S = 75  # longer than any client of ours keeps an idle connection


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.draining = True
        super().handle_exit(sig, frame)


def serve_app(app: FastAPI, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain; raise `BadConfig` when the address cannot be bound."""
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(settings.drain_s),
        server_header=False,
    )
    _allow_files()
    # What is loaded stays: a full collection that walks all of it stops a tier, and six alike at once, for 100 ms.
    gc.collect()
    gc.freeze()
    _Server(config, app.state.service).run(sockets=[_bind(settings.host, settings.port)])


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
