"""Finding the address of a name, also on a machine that has no network but its loopback."""

import asyncio
import socket

from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

__all__ = ["Resolver"]


class Resolver(ThreadedResolver):
    """aiohttp's own, and once more without `AI_ADDRCONFIG` where that finds nothing.

    With that flag the system leaves out the addresses of families in which only the loopback has one, so that
    `https://localhost` has no address on a machine without a network (getaddrinfo(3)).
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
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=address[1],
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, address in entries
            if isinstance(address[0], str)
        ]
