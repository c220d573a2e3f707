"""What a request upwards costs the tier that makes it: CPU of the client process alone, by client and body size.

`python -m ddnn_lab.benchmarks.uplink_cpu --out DIR [--seconds 3] [--rounds 3]`, under two minutes. The server is
another process that answers 400 bytes whatever it is sent; 16 requests are always under way. Each client runs in a
process of its own, by turns in short rounds, and the median round counts, so that whatever else the machine does hits
all alike.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final, cast

import httptools
import httpx
import uvloop
from httpx_aiohttp import AiohttpTransport

from ddnn.formatting import markdown
from ddnn.plot_style import name as entitle
from ddnn.plot_style import panels
from ddnn.uplink.transport import OverAiohttp
from ddnn_lab.benchmarks.report import environment, options, write
from ddnn_lab.plots import save

__all__ = ["main"]

CONCURRENT: Final = 16
SIZES: Final = (1_000, 32_000)
TARGET: Final = 1 / 5
CLIENTS: Final = {
    "httpx": "httpx, its own transport",
    "httpx-aiohttp": "httpx over httpx-aiohttp (until now)",
    "uplink": "uplink, straight over aiohttp",
}
HEADERS: Final = {
    "x-ddnn-bundle": "a" * 64,
    "accept-encoding": "identity",
    "content-type": "application/octet-stream",
    "inference-header-content-length": "120",
    "x-request-id": "b" * 32,
    "traceparent": f"00-{'c' * 32}-{'d' * 16}-00",
    "x-ddnn-deadline-ms": "1900",
}
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ninference-header-content-length: 100\r\n"
    b"server-timing: cloud-answer;dur=1.0\r\nx-request-id: " + b"e" * 32 + b"\r\ncontent-length: 400\r\n\r\n"
) + b"x" * 400

Post = Callable[[], Awaitable[int]]
"""One exchange; the bytes that came back."""


class _Server(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(ANSWER)


async def serve() -> None:
    """Answer until the process ends; the port goes to standard output."""
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@asynccontextmanager
async def client(name: str, url: str, body: bytes) -> AsyncIterator[Post]:
    """The client `name`, as an uplink uses it."""
    if name == "uplink":
        transport = OverAiohttp(connections=512, keepalive_s=4.0, trusted=False)

        async def over_aiohttp() -> int:
            async with asyncio.timeout(1.9):
                received = await transport.exchange(
                    "POST", url, headers=HEADERS, body=body, connect_s=0.5, most=1 << 20
                )
            return len(received.body)

        yield over_aiohttp
        await transport.aclose()
        return
    limits = httpx.Limits(max_connections=512, max_keepalive_connections=512, keepalive_expiry=4.0)
    given = AiohttpTransport(verify=False, trust_env=False, limits=limits) if name == "httpx-aiohttp" else None
    session = httpx.AsyncClient(transport=given, limits=limits, trust_env=False, timeout=None)

    async def over_httpx() -> int:
        async with asyncio.timeout(1.9):
            return len((await session.post(url, content=body, headers=HEADERS)).content)

    yield over_httpx
    await session.aclose()


async def drive(post: Post, seconds: float) -> int:
    """Keep 16 requests under way; how many were answered."""
    until, done = time.perf_counter() + seconds, 0

    async def one_after_another() -> None:
        nonlocal done
        while time.perf_counter() < until:
            assert await post() == 400
            done += 1

    await asyncio.gather(*(one_after_another() for _ in range(CONCURRENT)))
    return done


async def measure(name: str, port: int, size: int, seconds: float) -> dict[str, float]:
    """CPU seconds of this process for each request, and requests a second, after a warm-up."""
    async with client(name, f"http://127.0.0.1:{port}/v2/models/ddnn/infer", b"z" * size) as post:
        await drive(post, seconds / 4)
        began, used = time.perf_counter(), time.process_time()
        done = await drive(post, seconds)
    return {"cpu_us": 1e6 * (time.process_time() - used) / done, "per_s": done / (time.perf_counter() - began)}


def run(seconds: float, rounds: int) -> dict[str, Any]:
    """All clients by turns, each in its own process."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {name: {str(size): [] for size in SIZES} for name in CLIENTS}
    with subprocess.Popen([sys.executable, __file__, "--as", "serve"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        port = server.stdout.readline().strip()
        try:
            for _ in range(rounds):
                for size in SIZES:
                    for name in CLIENTS:
                        which = ["--as", name, "--port", port, "--size", str(size), "--seconds", str(seconds)]
                        said = subprocess.run([sys.executable, __file__, *which], stdout=subprocess.PIPE, check=True)
                        found[name][str(size)].append(json.loads(said.stdout))
        finally:
            server.kill()
    middle = {
        name: {size: {key: median(each[key] for each in all) for key in all[0]} for size, all in sizes.items()}
        for name, sizes in found.items()
    }
    share = {size: middle["uplink"][size]["cpu_us"] / middle["httpx"][size]["cpu_us"] for size in map(str, SIZES)}
    return {"concurrent": CONCURRENT, "rounds": found, "median": middle, "share_of_httpx": share, "target": TARGET}


def report(results: dict[str, Any]) -> str:
    """The table."""
    rows = []
    for name, words in CLIENTS.items():
        for size, found in results["median"][name].items():
            stock = results["median"]["httpx"][size]["cpu_us"]
            share = f"1/{stock / found['cpu_us']:.1f}"
            rows.append((words, f"{int(size) // 1000} kB", f"{found['cpu_us']:.0f} µs", share, f"{found['per_s']:.0f}"))
    table = markdown(("client", "body", "CPU of the client per request", "share of httpx", "requests/s"), rows)
    return f"# CPU of an uplink\n\n{CONCURRENT} requests at once, median round.\n\n{table}"


def draw(results: dict[str, Any], file: Path) -> None:
    """Bars by client and size."""
    figure, (axes,) = panels(1, height=3.2)
    for place, size in enumerate(map(str, SIZES)):
        values = [results["median"][name][size]["cpu_us"] for name in CLIENTS]
        bars = axes.barh(
            [row + 0.38 * place for row in range(len(CLIENTS))], values, 0.36, label=f"{int(size) // 1000} kB"
        )
        axes.bar_label(bars, fmt=" {:.0f} µs", fontsize=8)
    axes.set_yticks([row + 0.19 for row in range(len(CLIENTS))], list(CLIENTS.values()), fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    entitle(axes, "", "CPU of the client process per request, µs", "")
    axes.legend(fontsize=8)
    save(figure, file)


def main() -> None:
    """Measure and write `uplink_cpu.{json,md,png}`."""
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--as", dest="part", choices=["serve", *CLIENTS], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part == "serve":
        uvloop.run(serve())
    elif given.part:
        print(json.dumps(uvloop.run(measure(given.part, given.port, given.size, given.seconds))))
    else:
        results = {**environment(), **run(given.seconds, given.rounds)}
        write(given.out, "uplink_cpu", results, report(results), partial(draw, results))


if __name__ == "__main__":
    main()
