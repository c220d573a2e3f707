"""A whole fleet in one process: real apps and sections, joined by ASGI transports instead of the network."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import numpy as np
from fastapi import FastAPI

import ddnn_cloud.app
import ddnn_device.app
import ddnn_edge.app
from ddnn.answers import outputs_to_answers
from ddnn.bundle import Bundle
from ddnn.fleet.addresses import edge_names
from ddnn.policy import Policy, Thresholds
from ddnn.settings import Settings
from ddnn.types import Answer, Array
from ddnn.uplink.uplink import INFER_PATH as INFER
from ddnn.wire import HEADER_LENGTH, decode_response, encode_request

__all__ = ["INFER", "NEVER", "Fleet", "Switch"]

NEVER: Final = Thresholds(local=0.0, edge=0.0)  #: every event goes up to the cloud


class Switch(httpx.AsyncBaseTransport):
    """A transport to apps by host name; a host may be down or do something else."""

    def __init__(self) -> None:
        self.apps: dict[str, FastAPI] = {}
        self.instead: dict[str, Callable[[httpx.Request], httpx.Response]] = {}
        self.requests: list[httpx.Request] = []
        self._came = asyncio.Event()

    async def reached(self, host: str, times: int = 1) -> None:
        """Wait for requests to `host`."""
        async with asyncio.timeout(30):
            while sum(request.url.host == host for request in self.requests) < times:
                self._came.clear()
                await self._came.wait()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        self.requests.append(request)
        self._came.set()
        if host in self.instead:
            return self.instead[host](request)
        if host not in self.apps:
            raise httpx.ConnectError("down", request=request)
        return await httpx.ASGITransport(self.apps[host]).handle_async_request(request)


@dataclass
class Fleet:
    """Tiers by host name: `device-0` …, `edge` (`edge-0` … when there are several), `cloud` (likewise)."""

    bundle: Bundle
    switch: Switch = field(default_factory=Switch)
    settings: dict[str, Any] = field(default_factory=dict)
    devices: Sequence[int] | None = None
    """Devices that are started; None: all."""
    clouds: int = 1

    def start(self, *, cloud_alone: bool = False) -> None:
        def make(**given: Any) -> Settings:
            return Settings.load(bundle=self.bundle.path, **{**self.settings, **given})

        apps = self.switch.apps
        clouds = ["cloud"] if self.clouds == 1 else [f"cloud-{n}" for n in range(self.clouds)]
        for cloud in clouds:
            apps[cloud] = ddnn_cloud.app.create_app(make())
        if cloud_alone:
            return
        topology = self.bundle.topology
        edges = edge_names(len(topology.edges))
        for n, edge in enumerate(edges):
            # In another order for each: an event's home is where it is all the same.
            above = ",".join(f"http://{cloud}" for cloud in [*clouds[n:], *clouds[:n]])
            apps[edge] = ddnn_edge.app.create_app(make(index=n, upstream=above), self.switch)
        for n in range(len(topology.devices)) if self.devices is None else self.devices:
            given = make(index=n, upstream=f"http://{edges[topology.edge_of(n)]}")
            apps[f"device-{n}"] = ddnn_device.app.create_app(given, self.switch)

    def use(self, **changes: Any) -> None:
        """Give every tier this policy."""
        policy = Policy(bundle=self.bundle.fingerprint, **{"wait_ms": 60_000, **changes})
        for app in self.switch.apps.values():
            app.state.service.policy = policy

    async def post(self, host: str, inputs: dict[str, Array], /, **parameters: Any) -> httpx.Response:
        body, headers = encode_request(inputs, parameters=parameters)
        async with self.client(host) as client:
            return await client.post(INFER, content=body, headers={"x-ddnn-deadline-ms": "30000", **headers})

    async def infer(self, host: str, inputs: dict[str, Array], /, **parameters: Any) -> list[Answer]:
        response = await self.post(host, inputs, **parameters)
        assert response.status_code == 200, response.text
        return outputs_to_answers(decode_response(response.content, response.headers[HEADER_LENGTH]).outputs)

    def client(self, host: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self.switch, base_url=f"http://{host}")

    def view(self, device: int, rows: slice) -> Array:
        return self.bundle.golden[f"view_{device}"][rows]

    async def see(
        self, *, devices: Sequence[int] | None = None, rows: slice = slice(0, 2), name: str = "e", **parameters: Any
    ) -> list[list[Answer]]:
        """The devices, by default all, see the same events; per device its answers."""
        devices = range(len(self.bundle.topology.devices)) if devices is None else devices
        events = np.array([f"{name}{n}".encode() for n in range(len(self.view(0, rows)))], np.object_)
        inputs = {n: {"view": self.view(n, rows), "event": events} for n in devices}
        return await asyncio.gather(*(self.infer(f"device-{n}", inputs[n], **parameters) for n in devices))

    async def close(self) -> None:
        """Close every tier's uplink."""
        for app in self.switch.apps.values():
            await app.state.service.close()
