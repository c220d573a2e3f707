"""Sites over the network: they come, ask for work, say that they live, and send what they have learnt.

| | |
| --- | --- |
| `GET /v1/federation` | JSON: config, settings, seed, classes, views |
| `PUT /v1/sites/NAME` | a site's introduction, a parcel |
| `GET /v1/sites/NAME/work?after=N` | the body of a turn past N, once it is drawn; 204: not yet; 410: it is over |
| `PUT /v1/sites/NAME/work` | a body back; 409: its turn is over |
| `PUT /v1/sites/NAME/alive` | it lives; 404: the server does not know it, and it is to come anew |
"""

import asyncio
import re
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from aiohttp import web

from ddnn.errors import WorkerLost
from ddnn.training.federated.settings import Federated
from ddnn.training.federated.wire import HEAD_BYTES, Phase, turn_of
from ddnn.training.meeting import Listener

__all__ = ["Networked"]

POLL_S: Final = 10.0  #: that a wish for work is kept open
NAME: Final = "{name:[A-Za-z0-9._-]{1,64}}"


@dataclass
class _Site:
    introduction: bytes
    seen: float = field(default_factory=time.monotonic)


class Networked:
    """The sites that have come to this server; its HTTP face runs in a thread of its own.

    Args:
        told: What `GET /v1/federation` gives.
        settings: How long the sites of a round are waited for.
        count: How many sites the first round waits for.
        largest: Most weights of a parcel.
        silent_s: After so long without a word a site is lost.
        token: What sites have to show, if anything.
    """

    def __init__(
        self,
        told: Mapping[str, Any],
        settings: Federated,
        *,
        count: int,
        largest: int,
        silent_s: float = 10.0,
        token: str | None = None,
    ) -> None:
        self._told, self._settings, self._count = dict(told), settings, count
        self._silent_s, self._turn = silent_s, threading.Condition()
        self._sites: dict[str, _Site] = {}
        self._at, self._bodies = -1, dict[str, bytes]()
        self._came: dict[str, bytes] = {}
        self._over, self._told_over, self._all_told = False, set[str](), asyncio.Event()
        # Of a secret sum, numbers take 8 bytes each; room besides is for what all sites of a round are told.
        most = HEAD_BYTES + (8 if settings.secret else 4) * largest + 65_536
        self._listener = Listener(
            [
                web.get("/v1/federation", self._federation),
                web.put(f"/v1/sites/{NAME}", self._come),
                web.get(f"/v1/sites/{NAME}/work", self._work),
                web.put(f"/v1/sites/{NAME}/work", self._done),
                web.put(f"/v1/sites/{NAME}/alive", self._alive),
            ],
            largest=most,
            token=token,
            seen=self._heard,
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
        with self._turn:
            self._over = True
            self._turn.notify_all()
        self._listener.run(self._end())
        self._listener.stop()

    def introductions(self) -> Mapping[str, bytes]:
        """Of the sites that live; the first round waits until as many have come as are expected."""
        with self._turn:
            wanted = self._count if self._at < 0 else 1
            if not self._turn.wait_for(lambda: len(self._living()) >= wanted, self._settings.wait_s):
                found = len(self._living())
                raise WorkerLost(f"{found} of {wanted} sites came within {self._settings.wait_s:g} s")
            return {name: self._sites[name].introduction for name in self._living()}

    def work(self, bodies: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        """Offer a turn's bodies to the sites that are drawn, and give what comes back until none is missing."""
        until = time.monotonic() + self._settings.wait_s
        with self._turn:
            self._at, self._bodies, self._came = max(map(turn_of, bodies.values()), default=self._at), dict(bodies), {}
            self._turn.notify_all()
        waited = set(bodies)
        while waited:
            with self._turn:
                # Silence is no event: whoever may be lost is looked at once a second.
                self._turn.wait_for(partial(self._some_came, waited), 1.0)
                came = {name: self._came[name] for name in sorted(waited & self._came.keys())}
                there = set(self._living()) & self._bodies.keys()
            yield from came.items()
            waited = (waited - came.keys()) & there
            if time.monotonic() > until:
                break
        with self._turn:
            self._bodies = {}

    def _some_came(self, names: set[str]) -> bool:
        return bool(names & self._came.keys())

    def _living(self) -> list[str]:
        now = time.monotonic()
        return sorted(name for name, site in self._sites.items() if now - site.seen < self._silent_s)

    def _heard(self, request: web.Request) -> None:
        if (site := self._sites.get(request.match_info.get("name", ""))) is not None:
            site.seen = time.monotonic()

    async def _federation(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._told)

    async def _come(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        with self._turn:
            self._sites[request.match_info["name"]] = _Site(body)
            if self._at % len(Phase) > Phase.KEYS and self._settings.secret:
                # It has been started anew, and has no keys of this round: it is lost for it.
                self._bodies.pop(request.match_info["name"], None)
            self._turn.notify_all()
        return web.Response(status=204)

    async def _work(self, request: web.Request) -> web.StreamResponse:
        name, until = request.match_info["name"], time.monotonic() + POLL_S
        after = request.query.get("after", "-1")
        if not re.fullmatch("-?[0-9]{1,12}", after):
            return web.json_response({"error": f"after is {after[:20]!r}; expected a turn"}, status=400)
        while True:
            with self._turn:
                if self._over:
                    self._told_over.add(name)
                    if set(self._living()) <= self._told_over:
                        self._all_told.set()
                    return web.Response(status=410)
                if name in self._bodies and self._at > int(after):
                    return web.Response(body=self._bodies[name], content_type="application/octet-stream")
            if time.monotonic() > until:
                return web.Response(status=204)
            await asyncio.sleep(0.05)

    async def _done(self, request: web.Request) -> web.StreamResponse:
        name, body = request.match_info["name"], await request.read()
        with self._turn:
            # The turn is in the head; a body of another one comes too late.
            if name not in self._bodies or turn_of(body) != self._at:
                return web.Response(status=409)
            self._came[name] = body
            self._turn.notify_all()
        return web.Response(status=204)

    async def _alive(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=204 if request.match_info["name"] in self._sites else 404)

    async def _end(self) -> None:
        if self._living():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_told.wait(), POLL_S)
