"""A transport that hands a response to the kernel once: uvicorn writes its head and its body each by itself.

Each write is a system call that wakes the reader; on a fast route the second one costs as much as all decoding.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["OneWrite"]


class OneWrite:
    """Keeps the first write of each response, which is its head, until the next one; all else is the transport's."""

    def __init__(self, transport: asyncio.Transport, protocol: HttpToolsProtocol) -> None:
        self._transport = transport
        self._protocol: HttpToolsProtocol | None = protocol
        self._begun: object = None
        self._head = b""

    def write(self, data: bytes) -> None:
        """Write, or keep a head."""
        cycle = self._protocol.cycle if self._protocol else None
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        elif cycle is not None and cycle.response_started and cycle is not self._begun:
            self._begun, self._head = cycle, data
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Write what there is, then close."""
        if self._head:
            self._transport.write(self._head)
        self._transport.close()

    def forget_protocol(self) -> None:
        """The connection was lost: who holds the other would else be garbage that only the collector finds."""
        self._protocol = self._begun = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
