"""The control room of a fleet on this machine, beside it: opened, told where, closed."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ddnn.connections import trusted
from ddnn.fleet.addresses import HOST
from ddnn.fleet.processes import LocalFleet
from ddnn.fleet.switches import Switches
from ddnn.serving.room.demo import DemoServer

__all__ = ["show_fleet"]

_OFFSET: Final = 9  #: of its port, from the base port


@contextmanager
def show_fleet(
    fleet: LocalFleet, base_port: int, admin_token: str, token: str | None = None, state: Path | None = None
) -> Iterator[str]:
    """Serve its room while it runs; the address, with the admin token, which the page alone gets to see."""
    metrics = os.environ.get("DDNN_METRICS_TOKEN")
    switches = Switches(fleet, metrics or token)
    sock = _bound(base_port + _OFFSET if base_port else 0)
    secrets: dict[str, Any] = {"admin_token": admin_token, "token": metrics or token}
    server = DemoServer(switches, sock, **secrets, trusted=trusted(fleet.cloud_url), state=state)
    try:
        yield f"http://{HOST}:{sock.getsockname()[1]}/#token={admin_token}"
    finally:
        server.close()
        switches.close()
        sock.close()


def _bound(port: int) -> socket.socket:
    """A socket on `port`, or on a free one where that is taken."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
    except (OSError, OverflowError):
        sock.bind((HOST, 0))
    return sock
