"""Devices over the network: they come, ask for orders, and send what they have made of them with the next wish.

| | |
| --- | --- |
| `GET /v1/split` | JSON: config, seed, classes, views, how many training events there are |
| `PUT /v1/devices/N` | device N is there, and has nothing yet; 409: another one says so, too |
| `POST /v1/devices/N/turn` | an answer, or nothing → the next order; 204: not yet; 404: come anew; 410: over |
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from ddnn.errors import WorkerLost
from ddnn.training.meeting import Listener, same
from ddnn.training.split.wire import turn_of

__all__ = ["Networked"]

POLL_S: Final = 10.0  #: that a wish for an order is kept open
SECRET: Final = "DDNN-Device"  #: header by which a device is known to be the same one


@dataclass
class _There:
    """A device that has come; all of it belongs to the loop's thread."""

    secret: str
    times: int
    order: bytes = b""
    turn: int = -1
    answer: asyncio.Future[bytes] | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    seen: float = field(default_factory=time.monotonic)


class Networked:
    """The devices that have come to this server; its HTTP face runs in a thread of its own.

    Args:
        told: What `GET /v1/split` gives.
        count: How many devices the first epoch waits for.
        largest: Most bytes of an answer.
        wait_s: Longest wait for them.
        silent_s: After so long without a word, or an answer, a device is lost.
        token: What devices have to show, if anything.
    """

    def __init__(
        self,
        told: Mapping[str, Any],
        *,
        count: int,
        largest: int,
        wait_s: float = 600.0,
        silent_s: float = 30.0,
        token: str | None = None,
    ) -> None:
        self._told, self._count, self._wait_s = dict(told), count, wait_s
        self._silent_s, self._devices = silent_s, dict[int, _There]()
        self._over, self._first = False, True
        self._listener = Listener(
            [
                web.get("/v1/split", self._split),
                web.put(r"/v1/devices/{index:\d{1,4}}", self._come),
                web.post(r"/v1/devices/{index:\d{1,4}}/turn", self._take_turn),
            ],
            largest=largest,
            token=token,
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listener.port

    def start(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        """Listen; raise `BadInput` where that is not possible."""
        self._listener.start(host, port, context)

    def stop(self) -> None:
        """Tell all that ask from now on that training is over, give them time to, and end."""
        self._listener.run(self._end())
        self._listener.stop()

    def there(self) -> Mapping[int, int]:
        """Those that live; the first time all are waited for, later one at least."""
        return self._listener.run(self._there())

    def ask(self, orders: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """Give each its order; what comes back of those that are not lost."""
        return self._listener.run(self._ask(orders))

    async def _there(self) -> Mapping[int, int]:
        wanted, until = self._count if self._first else 1, time.monotonic() + self._wait_s
        while len(living := self._living()) < wanted:
            if time.monotonic() > until:
                raise WorkerLost(f"{len(living)} of {wanted} devices came within {self._wait_s:g} s")
            await asyncio.sleep(0.05)
        self._first = False
        return living

    def _living(self) -> dict[int, int]:
        now = time.monotonic()
        return {i: each.times for i, each in self._devices.items() if now - each.seen < max(self._silent_s, POLL_S + 1)}

    async def _ask(self, orders: Mapping[int, bytes]) -> Mapping[int, bytes]:
        waiting = dict[int, asyncio.Future[bytes]]()
        for index, body in orders.items():
            device = self._devices[index]
            device.order, device.turn, device.answer = body, _turn(body), self._listener.loop.create_future()
            device.news.set()
            waiting[index] = device.answer
        await asyncio.wait(waiting.values(), timeout=self._silent_s)
        for index in waiting:
            self._devices[index].answer = None
        for future in waiting.values():
            future.cancel()
        return {i: f.result() for i, f in waiting.items() if not f.cancelled()}

    async def _split(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._told)

    async def _come(self, request: web.Request) -> web.StreamResponse:
        index, secret = int(request.match_info["index"]), _secret(request)
        if index >= self._count:
            return web.json_response({"error": f"device {index} came; expected one below {self._count}"}, status=400)
        before = self._devices.get(index)
        if before and before.secret != secret and index in self._living():
            return web.json_response({"error": f"device {index} is there already, and lives"}, status=409)
        self._devices[index] = _There(secret, before.times + 1 if before else 0)
        if before and before.answer and not before.answer.done():
            before.answer.cancel()  # it has begun anew, and knows nothing of its order
        return web.Response(status=204)

    async def _take_turn(self, request: web.Request) -> web.StreamResponse:
        device = self._devices.get(int(request.match_info["index"]))
        if device is None or not same(_secret(request), device.secret):
            return web.json_response({"error": "this device has not come, or another has in its place"}, status=404)
        device.seen = time.monotonic()
        body = await request.read()
        if (turn := turn_of(body)) >= 0 and turn == device.turn and device.answer and not device.answer.done():
            device.answer.set_result(body)
        done, until = turn, time.monotonic() + POLL_S
        while not (device.turn > done and device.answer):
            if self._over:
                return web.Response(status=410)
            device.news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(until - time.monotonic(), 0)):
                    await device.news.wait()
            device.seen = time.monotonic()
            if device.seen > until:
                return web.Response(status=204)
        return web.Response(body=device.order, content_type="application/octet-stream")

    async def _end(self) -> None:
        self._over = True
        for device in self._devices.values():
            device.news.set()
        if self._living():
            await asyncio.sleep(1.0)  # those that are about to ask hear that it is over


def _secret(request: web.Request) -> str:
    return request.headers.get(SECRET, "")


def _turn(order: bytes) -> int:
    return int.from_bytes(order[8:12], "little")
