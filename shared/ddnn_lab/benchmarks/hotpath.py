"""What a tier costs beside its section: against a bare FastAPI route, against no framework, and stage by stage.

`python -m ddnn_lab.benchmarks.hotpath --out DIR [--seconds 2] [--rounds 5]`, under three minutes. Real processes on
127.0.0.1; servers share one CPU and the asking has another, where there are two. Every server that is compared gets the
same bytes in short rounds by turns, so that whatever else the machine does hits all alike.

Framework time: the median time of a request to the tier, less that of the same request to an ASGI application without
any framework that runs the same section on the same body behind the same server (uvicorn, httptools, uvloop).
"""

import asyncio
import os
from contextlib import ExitStack
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import psutil
import uvloop

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.formatting import markdown
from ddnn.types import Tier
from ddnn.wire import Parameters, encode_request
from ddnn_lab.benchmarks.bare_servers import PATH
from ddnn_lab.benchmarks.hotpath_stages import plot, stages, stages_table
from ddnn_lab.benchmarks.raw_client import Load, ask_once, closed_loop, request_bytes
from ddnn_lab.benchmarks.report import environment, free_port, listening, options, write

__all__ = ["main"]

SERVERS: Final = ("tier", "fastapi", "asgi")
TIERS: Final = (Tier.CLOUD, Tier.DEVICE)
CONCURRENT: Final = 16
TARGET_RATE, TARGET_MS = 0.9, 1.0


def a_request(tier: Tier) -> bytes:
    """One event as the tier gets it, answered by its own exit."""
    golden, parameters = Bundle.open(shipped_bundle()).golden, Parameters()
    if tier is Tier.DEVICE:
        inputs, parameters = {"view": golden["view_0"][:1]}, {"max_exit": "device"}
    else:
        inputs, parameters = (
            {"features": golden["edge_features"][:1, 0], "present": np.ones((1, 6), np.bool_)},
            {"edge": 0},
        )
    body, headers = encode_request(inputs, parameters=parameters)
    return request_bytes(PATH, body, headers)


class Server(NamedTuple):
    """A process that listens."""

    port: int
    process: psutil.Process

    def cpu_s(self) -> float:
        """CPU time it has taken."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    async def load(self, request: bytes, connections: int, seconds: float) -> Load:
        """Ask it, and note its CPU time."""
        before = self.cpu_s()
        load = await closed_loop(self.port, request, connections=connections, seconds=seconds)
        load.server_cpu_s = self.cpu_s() - before
        return load


async def compare(tier: Tier, servers: dict[str, Server], seconds: float, rounds: int) -> dict[str, Any]:
    """All servers by turns; medians over the rounds."""
    request = a_request(tier)
    loads: dict[tuple[str, int], list[Load]] = {(name, n): [] for name in SERVERS for n in (CONCURRENT, 1)}
    for name in SERVERS:
        await servers[name].load(request, CONCURRENT, 0.3)
    for turn in range(rounds):
        for connections in (CONCURRENT, 1):
            for name in SERVERS[turn % 3 :] + SERVERS[: turn % 3]:
                loads[name, connections].append(await servers[name].load(request, connections, seconds))

    def median(name: str, connections: int, what: str) -> float:
        return float(np.median([getattr(load, what) for load in loads[name, connections]]))

    def milliseconds(name: str, connections: int, q: float) -> float:
        return 1000 * float(np.median([load.percentile(q) for load in loads[name, connections]]))

    ratios = [a.per_second / b.per_second for a, b in zip(loads["tier", 16], loads["fastapi", 16], strict=True)]
    adds = [
        1000 * (a.percentile(50) - b.percentile(50)) for a, b in zip(loads["tier", 1], loads["asgi", 1], strict=True)
    ]
    return {
        "servers": {
            name: {
                "per_second_16": median(name, CONCURRENT, "per_second"),
                "cpu_us_16": 1e6 * median(name, CONCURRENT, "server_cpu_each_s"),
                "cpu_us_1": 1e6 * median(name, 1, "server_cpu_each_s"),
                "p50_ms_16": milliseconds(name, CONCURRENT, 50),
                "p99_ms_16": milliseconds(name, CONCURRENT, 99),
                "p50_ms_1": milliseconds(name, 1, 50),
                "asking_cpu_share": max(load.cpu_s / load.seconds for load in loads[name, CONCURRENT]),
            }
            for name in SERVERS
        },
        "of_fastapi": float(np.median(ratios)),
        "of_fastapi_rounds": ratios,
        "framework_ms": float(np.median(adds)),
        "framework_ms_rounds": adds,
    }


def measure(tier: Tier, seconds: float, rounds: int, cpu: int | None) -> dict[str, Any]:
    """Start the servers of one tier and ask them."""
    with ExitStack() as stack:

        def start(*command: str) -> Server:
            port = free_port()
            running = listening(*(part.format(port=port) for part in command), port=port, cpu=cpu)
            return Server(port, psutil.Process(stack.enter_context(running)))

        servers = {"tier": start("-m", "ddnn", "serve", tier.value, "--port", "{port}", "--log-level", "error")}
        size = len(uvloop.run(ask_once(servers["tier"].port, a_request(tier))))
        for kind in SERVERS[1:]:
            servers[kind] = start("-m", "ddnn_lab.benchmarks.bare_servers", kind, tier.value, "{port}", str(size))
        return uvloop.run(compare(tier, servers, seconds, rounds))


SHOWN: Final = {"tier": "ddnn", "fastapi": "bare FastAPI route", "asgi": "no framework"}


def table(results: dict[str, Any]) -> str:
    """Markdown."""
    measured, targets = [], []
    for tier, result in results["tiers"].items():
        for name, row in result["servers"].items():
            cells = [f"{row[key]:,.0f}" if key.startswith(("per_", "cpu_")) else f"{row[key]:.2f}" for key in row]
            measured.append((tier, SHOWN[name], *cells))
        rate, ms = f"{result['of_fastapi']:.2f} ×", f"{result['framework_ms']:.3f} ms"
        targets.append((f"{tier}: requests/s of the bare FastAPI route", f"≥ {TARGET_RATE} ×", rate))
        targets.append((f"{tier}: framework time at concurrency 1, p50", f"≤ {TARGET_MS:g} ms", ms))
    columns = ("tier", "server", "requests/s at 16", "CPU µs a request at 16", "the same at 1", "p50 ms at 16")
    more = ("p99 ms at 16", "p50 ms at 1", "CPU share of the asking, at most")
    return markdown((*columns, *more), measured) + "\n" + markdown(("target", "figure", "measured"), targets)


def main() -> None:
    """Measure, print, and write `hotpath.json`, `hotpath.md` and `hotpath.png`."""
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one round")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    server_cpu = cpus[0] if len(cpus) > 1 else None
    results: dict[str, Any] = {**environment(), "seconds": given.seconds, "rounds": given.rounds, "tiers": {}}
    for tier in TIERS:
        if server_cpu is not None:
            os.sched_setaffinity(0, set(cpus[1:]))
        results["tiers"][tier.value] = measure(tier, given.seconds, given.rounds, server_cpu)
    os.sched_setaffinity(0, set(cpus))
    results["stages"] = asyncio.run(stages(given.seconds))
    page = f"# A tier beside bare servers\n\n{table(results)}\n{stages_table(results['stages'])}"
    write(given.out, "hotpath", results, page, partial(plot, results["stages"]))


if __name__ == "__main__":
    main()
