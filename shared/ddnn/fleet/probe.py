"""Exit 0 if the tier in this container says it is ready: the health check, run as a script without site-packages."""

import os
import socket
import sys

__all__: list[str] = []


def _ready(port: int) -> bool:
    request = b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection:
        connection.sendall(request)
        return connection.recv(64).split(b" ")[1:2] == [b"200"]


if __name__ == "__main__":
    try:
        sys.exit(0 if _ready(int(os.environ.get("DDNN_PORT", "8000"))) else 1)
    except OSError as error:
        sys.exit(f"not answering: {error}")
