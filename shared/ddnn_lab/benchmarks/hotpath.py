"""What a tier costs beside its section: against a bare FastAPI route, against no framework, and stage by stage.

`python -m ddnn_lab.benchmarks.hotpath --out DIR [--seconds 2] [--rounds 5]`, under three minutes. Real processes on
127.0.0.1; servers share one CPU and the asking has another, where there are two. Every server that is compared gets the
same bytes in short rounds by turns, so that whatever else the machine does hits all alike.

Framework time: the median time of a request to the tier, less that of the same request to an ASGI application without
any framework that runs the same section on the same body behind the same server (uvicorn, httptools, uvloop).
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from matplotlib.figure import Figure
from prometheus_client.parser import text_string_to_metric_families

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.fleet.processes import LocalFleet
from ddnn.plot_style import name as entitle
from ddnn.plot_style import panels
from ddnn.runtime import Section
from ddnn.types import Tier
from ddnn.uplink.uplink import INFER_PATH
from ddnn.wire import HEADER_LENGTH, Parameters, encode_request
from ddnn_lab.benchmarks import RESULTS, Out, command, free_port, listening, write
from ddnn_lab.load import Closed, HttpTarget, Measured, Outcome, Processes, measure
from ddnn_lab.released import UNSHED, Code

__all__ = ["serve"]

SERVERS: Final = {"tier": "ddnn", "fastapi": "bare FastAPI route", "asgi": "no framework"}
TIERS: Final = (Tier.CLOUD, Tier.DEVICE)
CONCURRENT: Final = 16
STAGES: Final = ("receive", "decode", "collect", "queue", "section", "decide", "uplink", "encode", "send")
_SECTIONS: Final = ("device", "local", "edge", "cloud")
_WARM_EVENTS: Final = 50
_THIS: Final = Code()


def serve(kind: str, tier: str, port: int, size: int) -> None:
    """Serve a tier's section, nothing checked, decided or counted, with the loop and parser that a tier has.

    Each answer is `size` bytes; `kind` is `fastapi`, a route as anybody would write it, or `asgi`, no framework at all.
    """
    app, lifespan = _bare_app(kind, _section(Tier(tier), size)), "auto" if kind == "fastapi" else "off"
    loop: dict[str, Any] = {"http": "httptools", "loop": "uvloop", "lifespan": lifespan}
    uvicorn.run(app, port=port, access_log=False, log_level="warning", **loop)


def _section(tier: Tier, size: int) -> Callable[[bytes, int], bytes]:
    """The section on a body whose tensors begin at a place, for one event; its scores, filled up to `size` bytes."""
    bundle = Bundle.open(shipped_bundle())
    section = Section(bundle.sections(tier, 0)["section"], threads=1)
    topology, here = bundle.topology, np.ones((1, 1), np.bool_)
    shape, cut = topology.devices[0].view.shape, topology.features(Tier.EDGE)

    def device(body: bytes, at: int) -> bytes:
        view = np.frombuffer(body, np.uint8, int(np.prod(shape)), at).reshape(1, *shape)
        return section.run(view=view)["scores"].tobytes().ljust(size)

    def cloud(body: bytes, at: int) -> bytes:
        assert cut is not None
        packed = np.frombuffer(body, np.uint8, cut.bytes, at).reshape(1, 1, cut.bytes)
        return section.run(features=cut.unpack(packed), present=here)["scores"].tobytes().ljust(size)

    return device if tier is Tier.DEVICE else cloud


def _bare_app(kind: str, run: Callable[[bytes, int], bytes]) -> Callable[..., Any]:
    app, header_length = FastAPI(), HEADER_LENGTH.lower().encode()

    @app.post(INFER_PATH)
    async def infer(request: Request) -> Response:
        body = await request.body()
        return Response(run(body, int(request.headers[HEADER_LENGTH])), media_type="application/octet-stream")

    async def asgi(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[dict[str, Any]], Any]) -> None:
        body = (await receive())["body"]
        answer = run(body, next(int(value) for name, value in scope["headers"] if name == header_length))
        headers = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app if kind == "fastapi" else asgi


def one_event(tier: Tier, bundle: Path | None = None) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an event as the tier gets it, answered by its own exit."""
    golden = Bundle.open(bundle or shipped_bundle()).golden
    inputs, parameters = {"view": golden["view_0"][:1]}, Parameters({"max_exit": "device"})
    if tier is not Tier.DEVICE:
        inputs = {"features": golden["edge_features"][:1, 0], "present": np.ones((1, 6), np.bool_)}
        parameters = {"edge": 0}
    return encode_request(inputs, parameters=parameters)


def compare(
    tier: Tier, seconds: float, rounds: int, cpu: int | None, code: Code = _THIS, kinds: Sequence[str] = tuple(SERVERS)
) -> dict[str, Any]:
    """All servers of one tier by turns; medians over the rounds. `code` is the tier's."""
    body, headers = one_event(tier, code.bundle)
    loads: dict[tuple[str, int], list[dict[str, float]]] = {(name, n): [] for name in kinds for n in (CONCURRENT, 1)}
    ports = {name: free_port() for name in kinds}
    urls = {name: f"http://127.0.0.1:{port}{INFER_PATH}" for name, port in ports.items()}
    with ExitStack() as stack:

        def start(name: str, *arguments: str, **settings: str) -> int:
            return stack.enter_context(listening(*arguments, port=ports[name], cpu=cpu, **settings))

        def ask(name: str, connections: int, length: float) -> dict[str, float]:
            target = HttpTarget(urls[name], [body], lambda _, answer: Outcome(bool(answer)), headers)
            process = Processes({"server": ids[name]})
            return _figures(measure(target, Closed(connections), seconds=length, warm_up_s=0.05, processes=process))

        served = ("-m", "ddnn", "serve", tier, "--port", f"{ports['tier']}", "--log-level", "error")
        ids = {"tier": start("tier", *served, **(code.path or UNSHED))}
        size = len(httpx.post(urls["tier"], content=body, headers=headers).content)
        for kind in kinds[1:]:
            call = f"serve({kind!r}, {tier.value!r}, {ports[kind]}, {size})"
            ids[kind] = start(kind, "-c", f"from ddnn_lab.benchmarks.hotpath import serve; {call}")
        names = list(kinds)
        for name in names:
            ask(name, CONCURRENT, 0.3)
        for turn in range(rounds):
            for connections in (CONCURRENT, 1):
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    loads[name, connections].append(ask(name, connections, seconds))
    return _medians(loads)


def _figures(load: Measured) -> dict[str, float]:
    latency = load.latency_ms or {}
    costs = {"per_second": load.answered / load.seconds, "cpu_us": 1e6 * load.cpu_s["server"] / load.answered}
    return {**costs, "p50_ms": latency["p50"], "p99_ms": latency["p99"], "asking_cpu_share": load.client_busy}


def _medians(loads: dict[tuple[str, int], list[dict[str, float]]]) -> dict[str, Any]:
    def pairs(figure: str, connections: int, beside: str) -> Iterator[tuple[float, float]]:
        for tier, other in zip(loads["tier", connections], loads[beside, connections], strict=True):
            yield tier[figure], other[figure]

    shown = {CONCURRENT: ("per_second", "cpu_us", "p50_ms", "p99_ms"), 1: ("cpu_us", "p50_ms")}
    servers = {
        name: {
            f"{figure}_{connections}": float(np.median([load[figure] for load in loads[name, connections]]))
            for connections, figures in shown.items()
            for figure in figures
        }
        | {"asking_cpu_share": max(load["asking_cpu_share"] for load in loads[name, CONCURRENT])}
        for name in dict.fromkeys(name for name, _ in loads)
    }
    if "fastapi" not in servers:
        ratios = [tier / raw for tier, raw in pairs("per_second", CONCURRENT, "asgi")]
        return {"servers": servers, "of_asgi": float(np.median(ratios))}
    ratios = [tier / route for tier, route in pairs("per_second", CONCURRENT, "fastapi")]
    adds = [tier - bare for tier, bare in pairs("p50_ms", 1, "asgi")]
    medians = {"of_fastapi": float(np.median(ratios)), "framework_ms": float(np.median(adds))}
    return {"servers": servers, **medians, "of_fastapi_rounds": ratios, "framework_ms_rounds": adds}


async def stages(seconds: float) -> dict[str, dict[str, float]]:
    """Mean milliseconds a request spends in each stage, per tier; one event of six devices at a time, to the cloud.

    `whole` is what the tier counts from a request's first byte to its answer's last; `requests` how many there were.
    """
    bundle, means = Bundle.open(shipped_bundle()), {}
    with LocalFleet(bundle.path, base_port=0) as fleet:
        fleet.wait_until_ready()
        urls = {name: fleet.members[name].url for name in ("device-0", "edge", "cloud")}
        async with httpx.AsyncClient(timeout=10) as client:
            await _ask(client, fleet.device_urls, bundle, events=_WARM_EVENTS)
            before = {name: await _counted(client, url) for name, url in urls.items()}
            await _ask(client, fleet.device_urls, bundle, seconds=seconds)
            after = {name: await _counted(client, url) for name, url in urls.items()}
    for name in urls:
        requests = after[name]["requests"] - before[name]["requests"]
        row = {key: 1000 * (after[name][key] - before[name][key]) / requests for key in (*STAGES, "whole")}
        means[name.partition("-")[0]] = {**row, "requests": requests}
    return means


async def _ask(
    client: httpx.AsyncClient, urls: tuple[str, ...], bundle: Bundle, *, events: int = 0, seconds: float = 0.0
) -> None:
    """So many events, or so long, one after the other."""
    until, asked, run = time.monotonic() + seconds, 0, time.time_ns()
    while asked < events or time.monotonic() < until:
        row, event = asked % len(bundle.golden["view_0"]), np.array([f"{run}-{asked}".encode()], np.object_)
        posts = []
        for device, url in enumerate(urls):
            inputs = {"view": bundle.golden[f"view_{device}"][row : row + 1], "event": event}
            body, headers = encode_request(inputs, parameters={"threshold": 0.0})
            posts.append(client.post(url + INFER_PATH, content=body, headers=headers))
        for response in await asyncio.gather(*posts):
            response.raise_for_status()
        asked += 1


async def _counted(client: httpx.AsyncClient, url: str) -> dict[str, float]:
    """Seconds in each stage so far, in all requests together (`whole`), and how many those are (`requests`)."""
    seconds = dict.fromkeys((*STAGES, "whole", "requests"), 0.0)
    totals = {"ddnn_request_duration_seconds_sum": "whole", "ddnn_request_duration_seconds_count": "requests"}
    for family in text_string_to_metric_families((await client.get(url + "/metrics")).text):
        for sample in family.samples:
            if sample.name in totals:
                seconds[totals[sample.name]] = sample.value
            elif sample.name == "ddnn_stage_duration_seconds_sum":
                stage = sample.labels["stage"]
                stage = "section" if stage in _SECTIONS else stage
                seconds[stage] = seconds.get(stage, 0.0) + sample.value
    return seconds


def draw(found: dict[str, dict[str, float]]) -> Figure:
    """Stacked bars, one a tier."""
    figure, (axes,) = panels(1, height=3.2)
    left = np.zeros(len(found))
    for number, stage in enumerate(STAGES):
        widths = np.array([row[stage] for row in found.values()])
        axes.barh(list(found), widths, left=left, label=stage, color=f"C{number}")
        left += widths
    axes.invert_yaxis()
    entitle(axes, "", "milliseconds a request (mean)", "")
    axes.legend(ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return figure


def main(out: Out = RESULTS, seconds: float = 2.0, rounds: int = 5) -> None:
    """Measure, print, and write `hotpath.json`, `hotpath.md` and `hotpath.png`."""
    cpus = sorted(os.sched_getaffinity(0))
    results: dict[str, Any] = {"seconds": seconds, "rounds": rounds}
    os.sched_setaffinity(0, set(cpus[1:] or cpus))
    server_cpu = cpus[0] if len(cpus) > 1 else None
    results["tiers"] = {tier.value: compare(tier, seconds, rounds, server_cpu) for tier in TIERS}
    os.sched_setaffinity(0, set(cpus))
    results["stages"] = asyncio.run(stages(seconds))
    write(out, "hotpath", results, draw(results["stages"]), names=SERVERS)


if __name__ == "__main__":
    command(__doc__, main)
