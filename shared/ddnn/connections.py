"""How connections are made: the certificate a tier shows, the authorities its callers trust, the address of a name."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any, Final

from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

from ddnn.errors import BadConfig

__all__ = ["Resolver", "check_certificate", "kept_alive", "trusted"]

_ALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}  #: seconds, seconds, questions


def check_certificate(certificate: Path | None, key: Path | None) -> None:
    """Raise `BadConfig` unless a server can show `certificate`, PEM with its chain, of which `key` is the open key."""
    if certificate is None or key is None:
        present, missing = ("DDNN_TLS_KEY", "DDNN_TLS_CERTIFICATE") if key else ("DDNN_TLS_CERTIFICATE", "DDNN_TLS_KEY")
        raise BadConfig(f"{present} is set and {missing} is not; expected both, or neither for plain HTTP")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, password=_refuse)
    except OSError as error:  # an `SSLError` is one too
        found = f"DDNN_TLS_CERTIFICATE {certificate} and DDNN_TLS_KEY {key} cannot be used"
        expected = "expected a PEM certificate with its chain, and its key, which no password protects"
        raise BadConfig(f"{found} ({error.strerror or error}); {expected}") from error


def trusted(url: str) -> ssl.SSLContext | bool:
    """Whom a caller of `url` trusts: the system's authorities, or those of `SSL_CERT_FILE`.

    False where it is not https: loading them takes tens of milliseconds and megabytes.
    """
    return ssl.create_default_context() if url.startswith("https://") else False


def kept_alive(sock: Any) -> None:
    """Let the system ask after a connection on which nothing has come for 30 s.

    Whatever waits on it finds out that way that the other end has lost its power, or the way there.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _ALIVE.items():
        if hasattr(socket, name):  # not every system has all
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _refuse() -> str:
    raise OSError("the key is protected by a password")


class Resolver(ThreadedResolver):
    """aiohttp's own, and where that finds nothing once more without `AI_ADDRCONFIG`.

    With it `https://localhost` has no address on a machine whose network is its loopback (getaddrinfo(3)).
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of `host`; raise `OSError` where there is none."""
        try:
            return await super().resolve(host, port, family)
        except socket.gaierror:
            loop = asyncio.get_running_loop()
            entries = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        numeric = socket.AI_NUMERICHOST
        return [
            ResolveResult(hostname=host, host=address[0], port=address[1], family=kind, proto=protocol, flags=numeric)
            for kind, _, protocol, _, address in entries
            if isinstance(address[0], str)
        ]
