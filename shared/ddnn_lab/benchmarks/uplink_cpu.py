"""What a request upwards costs the tier that makes it: CPU of the client process alone, by client and body size.

`python -m ddnn_lab.benchmarks.uplink_cpu --out DIR [--seconds 3] [--rounds 3]`, under two minutes. The server is
another process that answers 400 bytes whatever it is sent; 16 requests are always under way. Each client runs in a
process of its own, by turns in short rounds, and the median round counts, so that whatever else the machine does hits
all alike.
"""

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from statistics import median
from typing import Any, Final, cast

import httptools
import httpx
import uvloop
from httpx_aiohttp import AiohttpTransport
from matplotlib.figure import Figure

from ddnn.plot_style import name as entitle
from ddnn.plot_style import panels
from ddnn.uplink.transport import OverAiohttp
from ddnn.uplink.uplink import INFER_PATH
from ddnn_lab.benchmarks import RESULTS, Out, command, free_port, listening, write
from ddnn_lab.load import Closed, Measured, Outcome, measure_async

__all__ = ["serve"]

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


class _Server(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(ANSWER)


async def serve(port: int) -> None:
    """Answer until the process ends."""
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", port)
    await server.serve_forever()


class Client:
    """The client `name`, as an uplink uses it; each event is one request of `size` bytes."""

    def __init__(self, name: str, url: str, size: int) -> None:
        limits = httpx.Limits(max_connections=512, max_keepalive_connections=512, keepalive_expiry=4.0)
        given = AiohttpTransport(verify=False, trust_env=False, limits=limits) if name == "httpx-aiohttp" else None
        self._httpx = httpx.AsyncClient(transport=given, limits=limits, trust_env=False, timeout=None)
        self._uplink = OverAiohttp(connections=512, keepalive_s=4.0, trusted=False)
        self._url, self._body = url, b"z" * size
        self._post = self._over_aiohttp if name == "uplink" else self._over_httpx

    async def __call__(self, number: int) -> Outcome:
        """Post once."""
        async with asyncio.timeout(1.9):
            return Outcome(len(await self._post()) == 400)

    async def _over_aiohttp(self) -> bytes:
        limits: dict[str, Any] = {"connect_s": 0.5, "most": 1 << 20}
        return (await self._uplink.exchange("POST", self._url, headers=HEADERS, body=self._body, **limits)).body

    async def _over_httpx(self) -> bytes:
        return (await self._httpx.post(self._url, content=self._body, headers=HEADERS)).content

    async def aclose(self) -> None:
        """Close the connections."""
        await self._uplink.aclose()
        await self._httpx.aclose()


def cost(name: str, port: int, size: int, seconds: float) -> dict[str, float]:
    """CPU microseconds of this process for each request, and requests a second, after a warm-up."""

    async def load() -> Measured:
        client = Client(name, f"http://127.0.0.1:{port}{INFER_PATH}", size)
        return await measure_async(client, Closed(CONCURRENT), seconds=seconds, warm_up_s=seconds / 4)

    measured = uvloop.run(load())
    return {"cpu_us": 1e6 * measured.cpu_s["client"] / measured.answered, "per_s": measured.answered / seconds}


def run(seconds: float, rounds: int) -> dict[str, Any]:
    """All clients by turns, each in its own process."""
    results: dict[str, dict[str, list[dict[str, float]]]] = {name: {f"{n}": [] for n in SIZES} for name in CLIENTS}
    port, spawn = free_port(), multiprocessing.get_context("spawn")
    call = f"import uvloop; from ddnn_lab.benchmarks.uplink_cpu import serve; uvloop.run(serve({port}))"
    with (
        listening("-c", call, port=port),
        ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool,  # a new process for each client
    ):
        for _ in range(rounds):
            for size in SIZES:
                for name in CLIENTS:
                    results[name][str(size)].append(pool.submit(cost, name, port, size, seconds).result())
    middle = {
        name: {size: {key: median(each[key] for each in all) for key in all[0]} for size, all in sizes.items()}
        for name, sizes in results.items()
    }
    share = {size: middle["uplink"][size]["cpu_us"] / middle["httpx"][size]["cpu_us"] for size in map(str, SIZES)}
    return {"concurrent": CONCURRENT, "rounds": results, "median": middle, "share_of_httpx": share, "target": TARGET}


def draw(results: dict[str, Any]) -> Figure:
    """Bars by client and size."""
    figure, (axes,) = panels(1, height=3.2)
    for place, size in enumerate(map(str, SIZES)):
        values = [results["median"][name][size]["cpu_us"] for name in CLIENTS]
        rows = [row + 0.38 * place for row in range(len(CLIENTS))]
        axes.bar_label(axes.barh(rows, values, 0.36, label=f"{int(size) // 1000} kB"), fmt=" {:.0f} µs", fontsize=8)
    axes.set_yticks([row + 0.19 for row in range(len(CLIENTS))], list(CLIENTS.values()), fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    entitle(axes, "", "CPU of the client process per request, µs", "")
    axes.legend(fontsize=8)
    return figure


def main(out: Out = RESULTS, seconds: float = 3.0, rounds: int = 3) -> None:
    """Measure and write `uplink_cpu.{json,md,png}`."""
    results = run(seconds, rounds)
    write(out, "uplink_cpu", results, draw(results), names=CLIENTS)


if __name__ == "__main__":
    command(__doc__, main)
