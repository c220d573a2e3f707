"""HTTP/1.1 as uvicorn speaks it, with bounded heads: uvicorn itself takes headers of any size, number and slowness."""

import asyncio
import secrets
from time import monotonic
from typing import Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ddnn.errors import BadInput, DDNNError, Unavailable
from ddnn.serving.caller import caller_left
from ddnn.serving.one_write import OneWrite
from ddnn.wire import encode_error

__all__ = ["BoundedHeads"]

_BYTES: Final = 64 << 10
_HEADERS: Final = 100
_SECONDS: Final = 10.0
_CONNECTIONS: Final = 4096
"""Each costs some kilobytes; whoever needs more than a few opens a new one for every request."""


class BoundedHeads(HttpToolsProtocol):
    """Refuses a request line with headers over 64 kB, over 100 headers, or not there within 10 s; and too many callers.

    Notes when a request's first byte came, so that its wait for the event loop is part of its time, and tells when its
    caller leaves before it is answered.
    """

    _in_head = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, OneWrite(transport, self)))
        if len(self.connections) > _CONNECTIONS:
            self._refuse(Unavailable(f"{_CONNECTIONS} connections are open here already; keep few, and keep them open"))
        else:
            self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        if self.cycle and not self.cycle.response_complete:
            caller_left(self.cycle.scope["state"])
        super().connection_lost(exc)
        cast(OneWrite, self.transport).forget_protocol()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["arrived"] = monotonic()
        self._end_head()
        self._begin_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if len(self.headers) >= _HEADERS or self._head_bytes > _BYTES:
            raise ValueError("the head is too large")  # the parser stops; `send_400_response` answers
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self.scope["state"]["whole"] = True  # nobody needs a timer to wait for the body
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        began_in_head = self._in_head
        super().data_received(data)
        if began_in_head and self._in_head and not self.transport.is_closing():
            # One header may be still coming, so no callback has counted it.
            self._head_bytes += len(data)
            if self._head_bytes > 2 * _BYTES:
                self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request with the one error body, and close."""
        self._refuse(
            BadInput(f"this is not an HTTP/1.1 request with at most {_HEADERS} headers of {_BYTES >> 10} kB together")
        )

    def _refuse(self, error: DDNNError) -> None:
        tier = self.config.app.state.service.tier  # type: ignore[union-attr]
        body = encode_error(error, request_id=secrets.token_hex(16), tier=tier)
        head = [STATUS_LINE[error.status], b"content-type: application/json\r\nconnection: close\r\n"]
        if error.status == 503:
            head.append(b"retry-after: 1\r\n")
        self.transport.write(b"".join([*head, b"content-length: %d\r\n\r\n" % len(body), body]))
        self.transport.close()

    def _begin_head(self) -> None:
        self._in_head, self._head_bytes = True, 0
        self._head_timer = self.loop.call_later(_SECONDS, self.transport.close)

    def _end_head(self) -> None:
        self._in_head = False
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
