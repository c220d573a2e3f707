"""What a cloud holds for each edge that keeps a stream to it: memory, and processor time while nothing is asked.

`python -m ddnn_lab.benchmarks.fan_in --out DIR [--edges 1000] [--idle 10]`, half a minute. One cloud process of the
shipped bundle; edges in this process, each with an address of its own on the loopback (Linux has 127.0.0.0/8), as they
would have in the field: first connected, then each has asked one event, 16 at a time, then silent. Writes `fan_in.json`
and `fan_in.md`. Exit code 1: not all of them were held.
"""

import asyncio
import resource
import sys
import time
from ipaddress import IPv4Address
from typing import Any, Final

import httpx
import numpy as np
import psutil

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.errors import BadConfig, Unavailable
from ddnn.stream import Stream
from ddnn.stream.lower import Broken, Lower, Refusal
from ddnn_lab.benchmarks import RESULTS, Out, Quick, command, free_port, listening, write

__all__ = ["Site", "source", "spread"]

_AT_ONCE: Final = 16
_WITHIN_S: Final = 30.0
_FILES: Final = 100  #: that a process needs beside its connections
_WARM: Final = 8


class Site(Stream):
    """An edge that connects from an address of its own."""

    def __init__(self, url: str, number: int, bundle: Bundle) -> None:
        headers = {"x-ddnn-bundle": bundle.fingerprint, "x-ddnn-tier": "edge/0"}
        classes, devices = len(bundle.manifest.classes), len(bundle.topology.devices)
        super().__init__(url, headers=headers, tls=None, classes=classes, devices=devices)
        self._from = source(number)

    async def _connect(self) -> Lower:
        def make() -> Lower:
            made = Lower(self, self._head, self._sizes)
            made.opened.add_done_callback(lambda opened: opened.cancelled() or opened.exception())
            return made

        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(make, self._host, self._port, local_addr=(self._from, 0))
        await line.opened
        self._line = line
        return line

    async def begin(self) -> None:
        """Connect, and hear from the cloud."""
        await self._connected(_WITHIN_S)
        await self.ping()


def source(number: int) -> str:
    """The address of one edge, of 16 million."""
    return str(IPv4Address("127.0.0.2") + number)


def spread(seconds: list[float]) -> dict[str, float]:
    """p50 and p99, in milliseconds."""
    return {f"p{q}": 1000 * float(np.quantile(seconds, q / 100)) for q in (50, 99)}


def _held(url: str) -> int:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return int(float(next(line.split()[1] for line in lines if line.startswith("ddnn_streams "))))


async def _fan_in(url: str, process: psutil.Process, edges: int, idle_s: float) -> dict[str, Any]:
    bundle = Bundle.open(shipped_bundle())
    golden, room, took = bundle.golden, asyncio.Semaphore(_AT_ONCE), list[float]()
    row = slice(0, 1)
    inputs = {"features": golden["edge_features"][row, 0], "present": golden["present"][row].astype(np.bool_)}

    async def begin(site: Site) -> None:
        async with room:
            await site.begin()

    async def ask(site: Site) -> None:
        async with room:
            began = time.perf_counter()
            await site.ask(inputs, {"edge": 0}, within_s=_WITHIN_S, connect_s=_WITHIN_S)
            took.append(time.perf_counter() - began)

    def resident() -> int:
        return int(process.memory_info().rss)

    sites = [Site(url, number, bundle) for number in range(_WARM + edges)]
    warm, some = sites[:_WARM], sites[_WARM:]
    try:
        for site in warm:
            await begin(site)
            for _ in range(_AT_ONCE):
                await ask(site)
        took.clear()
        first = resident()
        await asyncio.gather(*map(begin, some))
        open_ = resident()
        await asyncio.gather(*map(ask, some))
        asked, used = resident(), sum(process.cpu_times()[:2])
        held = await asyncio.to_thread(_held, url) - _WARM
        await asyncio.sleep(idle_s)
        idle_cpu = (sum(process.cpu_times()[:2]) - used) / idle_s if idle_s else None
    finally:
        await asyncio.gather(*(site.aclose() for site in sites))
    return {
        "edges": edges,
        "held": held,
        "resident_mb": {"before": first / 1e6, "connected": open_ / 1e6, "asked": asked / 1e6},
        "kb_each": {"connected": (open_ - first) / edges / 1e3, "asked": (asked - first) / edges / 1e3},
        "ms": spread(took),
        "idle_cpu": idle_cpu,
    }


def measure(edges: int, idle_s: float) -> dict[str, Any]:
    """What was found; raise `BadConfig` for want of open files, `Unavailable` where the cloud refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < edges + _FILES:
        if hard != resource.RLIM_INFINITY and hard < edges + _FILES:
            raise BadConfig(f"{edges} edges need {edges + _FILES} open files; this process may have {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (edges + _FILES, hard))
    port = free_port()
    with listening("-m", "ddnn", "serve", "cloud", "--port", str(port), "--log-level", "error", port=port) as pid:
        try:
            return asyncio.run(_fan_in(f"http://127.0.0.1:{port}", psutil.Process(pid), edges, idle_s))
        except (Refusal, Broken) as error:
            raise Unavailable(f"the cloud did not hold {edges} edges ({error}); see DDNN_MAX_CONNECTIONS") from error


def main(out: Out = RESULTS, edges: int = 1000, idle: float = 10.0, quick: Quick = False) -> None:
    """Measure, print, and write `fan_in.json` and `fan_in.md`."""
    if quick:
        edges, idle = 50, 0.5
    found = measure(edges, idle)
    typed = f"python -m ddnn_lab.benchmarks.fan_in --edges {edges} --idle {idle:g}"
    write(out, "fan_in", {"command": typed, **found})
    if found["held"] != edges:
        sys.exit(1)


if __name__ == "__main__":
    command(__doc__, main)
