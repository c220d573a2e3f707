"""What a fleet costs as it grows: from 1 to 64 devices on an edge, 4 edges on a cloud, 100,000 events that wait.

`python -m ddnn_lab.benchmarks.scale --out DIR [--quick]`, under four minutes on two cores without other load. Every
tier is a process, every view an HTTP request; the networks are small and untrained, since what is asked is cost. CPU is
that of all tiers at three events a second, less what the processes use when nothing is asked; following the policy,
which they do whatever is asked, is counted apart.
"""

import asyncio
import gc
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import psutil
from matplotlib.figure import Figure

from ddnn.bundle import Bundle
from ddnn.fleet.events import golden_events
from ddnn.fleet.processes import LocalFleet
from ddnn.plot_style import COLOURS, name, panels
from ddnn.policy import Policy
from ddnn.serving.collector import Children, Collector
from ddnn.serving.control import PolicyControl
from ddnn.serving.engine import Engine
from ddnn.serving.event import Contribution, Event, Reply
from ddnn.serving.metrics import Metrics
from ddnn.serving.request import RequestOptions
from ddnn.settings import CollectorSettings
from ddnn.types import Answer, Exit
from ddnn_lab.benchmarks import RESULTS, Out, Quick, command, write
from ddnn_lab.load import FleetTarget, Poisson, Processes, measure

__all__ = ["pending", "untrained_bundle"]

WAITING_DEVICES: Final = 6
CLASSES: Final = 10
PART: Final = 500  #: contributions timed at each number of waiting events
EVENTS: Final = 200


def untrained_bundle(folder: Path, devices: int, edges: int = 1, golden: int = 4) -> Path:
    """Export a network over `devices` views of 16×10 noisy pixels, which share their weights, and `edges` edges."""
    import torch

    from ddnn.data import load
    from ddnn.export import write_bundle
    from ddnn.network import DDNN, NetworkConfig, Plan, SectionConfig
    from ddnn.topology import View

    folder.mkdir(parents=True)
    chance, file = np.random.default_rng(0), folder / "noise.npz"
    views = chance.integers(0, 256, (EVENTS, devices, 1, 16, 10), dtype=np.uint8)
    np.savez(file, X=views, y=np.arange(EVENTS) % CLASSES)
    data = load(str(file))
    small = SectionConfig(filters=(4,), cut_filters=4)
    config = NetworkConfig(device=small, edge=small, cloud=small, shared_weights=True, edges=edges if edges > 1 else ())
    torch.manual_seed(0)
    network = DDNN(Plan.of(config, [View.of(view) for view in data.views], CLASSES))
    with torch.no_grad():  # batch norms that have seen something
        network([torch.from_numpy(view) for view in data.views], torch.from_numpy(data.present))
    return write_bundle(folder / "bundle", network, data, name=f"{devices} devices", golden_events=golden).path


class _Complete(Engine):
    """Keeps what is complete."""

    def __init__(self) -> None:
        super().__init__([], Metrics(Exit, ()))
        self.events: list[Event] = []

    def start(self, events: Sequence[Event]) -> None:
        self.events += events


def pending(most: int) -> dict[str, Any]:
    """What it costs to hold 100 … `most` events for which one of six devices has not come; run in a fresh process.

    `first_us`: a contribution that opens an event, `next_us`: one to an event that waits, `last_us`: one that
    completes it, answer and all.
    """
    return asyncio.run(_pending(most))


async def _pending(most: int) -> dict[str, Any]:
    complete, before, rows = _Complete(), 0, list[dict[str, Any]]()
    policy = Policy(bundle="b", wait_ms=60_000, adaptive_wait=False)
    places = [slice(n, n + 1) for n in range(WAITING_DEVICES)]
    collector = Collector(
        Children(places, WAITING_DEVICES, range(WAITING_DEVICES), WAITING_DEVICES * CLASSES * 4),
        complete,
        PolicyControl(policy, classes=CLASSES, devices=WAITING_DEVICES),
        Metrics(Exit, range(WAITING_DEVICES)),
        CollectorSettings(events=most + 10 * PART, bytes=1 << 34),
    )
    deadline = asyncio.get_running_loop().time() + 3600
    answer = Answer(1, np.full(CLASSES, 0.1, np.float32), Exit.LOCAL, 0.5, np.ones(WAITING_DEVICES, np.bool_), 1)

    def offer(event: int, child: int) -> None:  # new objects each, as each request makes them
        scores: dict[str, Any] = {"scores": np.zeros((1, CLASSES), np.float32)}
        mine = np.arange(WAITING_DEVICES) == child
        reply = Reply(RequestOptions(deadline, wait_ms=600_000), 1, child)
        collector.offer(b"%032d" % event, Contribution(child, scores, np.ones(1, np.bool_), mine), reply, 0)

    async def microseconds(child: int, events: range) -> float:
        begin = perf_counter()
        for event in events:
            offer(event, child)
        while child == WAITING_DEVICES - 1 and collector.pending > before:
            await asyncio.sleep(0)
            for whole in complete.events:
                whole.settle(answer)
            complete.events.clear()
        return 1e6 * (perf_counter() - begin) / len(events)

    process = psutil.Process()
    gc.collect()
    empty = process.memory_info().rss
    for level in (size for size in (100, 1_000, 10_000, 30_000, 100_000) if size <= most):
        for event in range(before, level):
            for child in range(WAITING_DEVICES - 1):
                offer(event, child)
        before = level
        gc.collect()
        memory = process.memory_info().rss - empty
        fresh = range(10 * most + level, 10 * most + level + PART)
        first, *later, last = [await microseconds(child, fresh) for child in range(WAITING_DEVICES)]
        costs = {"first_us": first, "next_us": float(np.mean(later)), "last_us": last}
        rows.append({"waiting": level, **costs, "memory_bytes": memory, "bytes_per_event": memory / level})
    collector.close()
    return {"devices": WAITING_DEVICES, "contributed": WAITING_DEVICES - 1, "levels": rows}


DEVICES: Final = (1, 2, 4, 8, 16, 32, 64)
LOADS: Final[dict[str, dict[str, str | float]]] = {"local": {"max_exit": "local"}, "cloud": {"threshold": 0.0}}
"""Answered where the scores are fused (one message a device), and at the cloud (two a device, one an edge)."""
TIERS: Final = ("device", "edge", "cloud")
RATE: Final = 3.0
"""Events a second: the same for all, as a process that is asked seldom pays more for each request than a busy one."""
FOLLOWED: Final = (4, 1)  #: devices and edges of the fleet that is also watched while nothing is asked
FEWEST: Final = 5  #: answers that a cost is stated for
TARGET: Final = 1.1
"""Flat or falling: the cost with 64 devices is at most so many times that with 1, measured as it is."""


def _by_tier(used: Mapping[str, float]) -> dict[str, float]:
    """Sums over the processes of a kind."""
    return {tier: sum(value for name, value in used.items() if name.partition("-")[0] == tier) for tier in TIERS}


def _idle(processes: Processes, seconds: float) -> dict[str, float]:
    """CPU seconds a second by tier, while nothing is asked."""
    before = processes.read().cpu_s
    time.sleep(seconds)
    return _by_tier({name: (used - before[name]) / seconds for name, used in processes.read().cpu_s.items()})


def _following(bundle: Bundle, seconds: float) -> dict[str, float]:
    """CPU in milliseconds a second and device while nothing is asked and devices and edge follow the policy."""
    with LocalFleet(bundle.path, base_port=0) as fleet:
        fleet.wait_until_ready(seconds=240)
        time.sleep(2.0)  # what comes with the start is over
        used = _idle(Processes({name: fleet.pid(name) for name in fleet.members}), seconds)
    return {tier: 1000 * value / len(bundle.topology.devices) for tier, value in used.items()}


def _fleet(bundle: Bundle, seconds: float) -> dict[str, Any]:
    """Load a fleet of `bundle`; CPU in milliseconds for a device and event, memory in bytes a process."""
    devices, edges = len(bundle.topology.devices), len(bundle.topology.edges)
    document: dict[str, Any] = {"devices": devices, "edges": edges}
    views, begin = golden_events(bundle).views, time.monotonic()
    with LocalFleet(bundle.path, base_port=0, env={"DDNN_POLICY_POLL_S": "60"}) as fleet:
        fleet.wait_until_ready(seconds=240)
        document["seconds_to_start"] = time.monotonic() - begin
        processes = Processes({name: fleet.pid(name) for name in fleet.members})
        time.sleep(1.0)  # what comes with the start is over
        idle = _idle(processes, 2.0)
        window: dict[str, Any] = {"seconds": seconds, "warm_up_s": 1.0, "deadline_s": 20.0, "processes": processes}
        for load, parameters in LOADS.items():
            target = FleetTarget(fleet.device_urls, views, deadline_s=20.0, parameters=parameters)
            measured = measure(target, Poisson(RATE), **window)
            net = {tier: max(0.0, used - idle[tier] * seconds) for tier, used in _by_tier(measured.cpu_s).items()}
            per = {tier: 1000 * used / max(1, measured.answered) / devices for tier, used in net.items()}
            document[load] = {
                "answered": measured.answered,
                "events_per_s": measured.goodput,
                "p50_ms": (measured.latency_ms or {}).get("p50"),
                "degraded": measured.degraded,
                "errors": dict(measured.errors),
                "share_there": measured.share(load),
                "cpu_ms_per_device_and_event": {**per, "all": sum(per.values())},
                "client_busy": measured.client_busy,
            }
    count, memory = {"device": devices, "edge": edges, "cloud": 1}, _by_tier(measured.memory_bytes)
    return {**document, "memory_mb": {tier: memory[tier] / count[tier] / 1e6 for tier in TIERS}}


def grow(seconds: float, sizes: Sequence[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    """A row for each number of devices and edges."""
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: what exports leave behind would be the load generator's to carry.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            folders = [Path(folder) / f"{devices}-{edges}" for devices, edges in sizes]
            paths = list(pool.map(untrained_bundle, folders, *zip(*sizes, strict=True)))
        for size, path in zip(sizes, paths, strict=True):
            row = _fleet(Bundle.open(path), seconds)
            if size == FOLLOWED:
                row["following_ms_per_s"] = _following(Bundle.open(path), seconds)
            costs = ", ".join(f"{load} {row[load]['cpu_ms_per_device_and_event']['all']:.2f} ms" for load in LOADS)
            print(f"{size[0]} devices, {size[1]} edges: {costs} of CPU a device and event", flush=True)
            yield row


def verdict(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Cost with the most devices over that with one, by load."""
    one_edge = [row for row in rows if row["edges"] == 1]
    ratios: dict[str, float | None] = {}
    for load in LOADS:
        first, last = one_edge[0][load], one_edge[-1][load]
        enough = min(first["answered"], last["answered"]) >= FEWEST and last["share_there"] > 0.5
        most, least = (each["cpu_ms_per_device_and_event"]["all"] for each in (last, first))
        ratios[load] = most / least if enough else None
    flat = all(ratio is not None and ratio <= TARGET for ratio in ratios.values())
    return {"devices": one_edge[-1]["devices"], "cost_against_one_device": ratios, "flat_or_falling": flat}


def draw(results: Mapping[str, Any]) -> Figure:
    """Cost over devices, and over waiting events."""
    figure, (cost, wait) = panels(2, height=6.4)
    rows, levels = [row for row in results["rows"] if row["edges"] == 1], results["collector"]["levels"]
    devices = [row["devices"] for row in rows]
    for load, style in (("local", "--"), ("cloud", "-")):
        for key, colour in (("device", "device"), ("edge", "edge"), ("all", "overall")):
            ms = [row[load]["cpu_ms_per_device_and_event"][key] for row in rows]
            label = f"{key}, answered at {load}"
            cost.plot(devices, ms, style, marker="o", markersize=4, color=COLOURS[colour], label=label)
    cost.set_xscale("log", base=2)
    cost.set_xticks(devices, [str(count) for count in devices])
    name(cost, "CPU for a device and event, one edge", "devices", "ms")
    waiting = [level["waiting"] for level in levels]
    for key, colour in (("first", "local"), ("next", "edge"), ("last", "cloud")):
        wait.plot(waiting, [level[f"{key}_us"] for level in levels], "o-", color=COLOURS[colour], label=key)
    wait.set_xscale("log")
    name(wait, "The collector: a contribution, over the events that wait", "events", "µs")
    for on in (cost, wait):
        on.set_ylim(bottom=0)
        on.legend(fontsize=8, loc="best")
    return figure


def main(out: Out = RESULTS, seconds: float = 5.0, quick: Quick = False) -> None:
    """Measure, print, write."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        collector = pool.submit(pending, 1_000 if quick else 100_000).result()
    sizes = [(1, 1), (4, 1), (4, 2)] if quick else [*((devices, 1) for devices in DEVICES), (64, 4)]
    rows = list(grow(2.5 if quick else seconds, sizes))
    typed = f"python -m ddnn_lab.benchmarks.scale --out {out.name}"
    results = {"command": typed, "rows": rows, "collector": collector, "verdict": verdict(rows)}
    write(out, "scale", results, draw(results))


if __name__ == "__main__":
    command(__doc__, main)
