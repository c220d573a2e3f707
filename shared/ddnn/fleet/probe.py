"""Exit 0 if the tier in this container says it is ready: the health check, run as a script without site-packages."""

import os
import socket
import sys

__all__: list[str] = []


def _ready() -> bool:
    port = int(os.environ.get("DDNN_PORT", "8000"))
    secure = any(os.environ.get(name) for name in ("DDNN_TLS_CERTIFICATE", "DDNN_IDENTITY"))
    request = b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with _connection(port, secure=secure) as connection:
        connection.sendall(request)
        return connection.recv(64).split(b" ")[1:2] == [b"200"]


def _connection(port: int, *, secure: bool) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=2.0)
    if not secure:
        return connection
    import ssl  # a third of this script's time

    # Whoever listens within this container need not prove who it is, and its certificate is of another name.
    return ssl._create_unverified_context().wrap_socket(connection)  # nosec B323


if __name__ == "__main__":
    try:
        sys.exit(0 if _ready() else 1)
    except OSError as error:
        sys.exit(f"not answering: {error}")
