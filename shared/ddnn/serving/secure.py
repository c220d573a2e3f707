"""TLS below HTTP: a handshake that is waited for so long only, and counts; and callers that close their sending half.

The event loops' own TLS does not tell of a connection before its handshake is over, keeps 256 kB for each, and takes a
caller that sends no more for one that has left. This is `ssl.SSLObject` between two protocols, and nothing else.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, cast

from ddnn.serving.doors import Door, Doors

__all__ = ["Secure"]

_HANDSHAKE_S: Final = 5.0
_RECORD: Final = 16 << 10  #: bytes, at most


class Secure(asyncio.Protocol, asyncio.Transport):
    """One connection: a protocol to the network, a transport to the protocol above, which comes after the handshake."""

    _raw: asyncio.Transport
    _tls: ssl.SSLObject
    _door: Door
    _timer: asyncio.TimerHandle

    def __init__(self, context: ssl.SSLContext, doors: Doors, above: Callable[[], asyncio.Protocol]) -> None:
        asyncio.Transport.__init__(self)
        self._context, self._doors, self._make = context, doors, above
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._above: asyncio.Protocol | None = None
        self._closing = self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        self._door = self._doors.enter(transport, self._raw.abort)
        self._timer = asyncio.get_running_loop().call_later(_HANDSHAKE_S, self._raw.abort)
        self._tls = self._context.wrap_bio(self._in, self._out, server_side=True)
        if not self._door.shake():
            self._raw.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._door.leave()
        above, self._above, self._closing = self._above, None, True
        if above:
            above.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._in.write(data)
        try:
            if self._above is None:
                self._tls.do_handshake()
                self._timer.cancel()
                self._door.shaken()
                self._above = self._make()
                self._above.connection_made(self)
            self._read()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:  # no TLS, no good certificate, or none at all
            self._flush()  # the alert that says so
            self._closing = True
            self._raw.close()
        self._flush()

    def _read(self) -> None:
        """Hand on what has come, a record at a time; one that is not whole raises `SSLWantReadError`.

        Each read takes a whole record, so nothing is left once nothing has come: asking OpenSSL costs more than a read.
        """
        while self._in.pending and not self._closing and not self._ended:
            try:
                data = self._tls.read(_RECORD)
            except ssl.SSLZeroReturnError:
                data = b""
            if data and self._above:
                self._above.data_received(data)
            else:
                self.eof_received()

    def eof_received(self) -> bool:
        """The caller sends no more, by TLS or by TCP: the protocol above says whether it has something to say yet."""
        if self._above is None or self._closing:
            return False
        if not self._ended:
            self._ended = True
            if not self._above.eof_received():
                self.close()
        return not self._closing

    def pause_writing(self) -> None:
        if self._above:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        if self._above:
            self._above.resume_writing()

    def write(self, data: Any) -> None:
        if self._closing or not data:
            return
        try:
            if (out := self._tls.write(data)) < len(data):  # OpenSSL writes a record at a time
                view = memoryview(data)
                while out < len(data):
                    out += self._tls.write(view[out:])
        except ssl.SSLError:
            self.abort()
        else:
            self._flush()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            with suppress(ssl.SSLError):  # the other end has not said so too, and need not
                self._tls.unwrap()
            self._flush()
            self._raw.close()

    def abort(self) -> None:
        self._closing = True
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._closing or self._raw.is_closing()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._above = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._above or self

    def pause_reading(self) -> None:
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._raw.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "door":
            return self._door
        if name == "ssl_object":
            return self._tls
        return self._context if name == "sslcontext" else self._raw.get_extra_info(name, default)

    def _flush(self) -> None:
        if self._out.pending and not self._raw.is_closing():
            self._raw.write(self._out.read())
