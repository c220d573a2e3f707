"""What a fleet costs as it grows: from 1 to 64 devices on an edge, 4 edges on a cloud, 100,000 events that wait.

`python -m ddnn_lab.benchmarks.scale --out DIR [--quick]`, under four minutes on two cores without other load. Every
tier is a process, every view an HTTP request; the networks are small and untrained, since what is asked is cost. CPU is
that of all tiers at three events a second, less what the processes use when nothing is asked; following the policy,
which they do whatever is asked, is told apart.
"""

import asyncio
import gc
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import psutil

from ddnn.bundle import Bundle
from ddnn.fleet.events import golden_events
from ddnn.fleet.processes import LocalFleet
from ddnn.formatting import markdown
from ddnn.policy import Policy
from ddnn.serving.collector import Children, Collector
from ddnn.serving.control import PolicyControl
from ddnn.serving.engine import Engine
from ddnn.serving.event import Contribution, Event, Reply
from ddnn.serving.metrics import Metrics
from ddnn.serving.request import RequestOptions
from ddnn.settings import CollectorSettings
from ddnn.types import Answer, Exit
from ddnn_lab.benchmarks.made_bundles import make
from ddnn_lab.benchmarks.report import environment, options, write
from ddnn_lab.load import FleetTarget, Poisson, Processes, measure

__all__ = ["main", "pending"]

WAITING_DEVICES: Final = 6
CLASSES: Final = 10
PART: Final = 500
"""Contributions timed at each number of waiting events."""


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
    policy, complete = Policy(bundle="b", wait_ms=60_000, adaptive_wait=False), _Complete()
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

    def offer(number: int, child: int) -> None:
        # New objects each, as each request makes them.
        scores: dict[str, Any] = {"scores": np.zeros((1, CLASSES), np.float32)}
        mine = np.arange(WAITING_DEVICES) == child
        reply = Reply(RequestOptions(deadline, wait_ms=600_000), 1, child)
        collector.offer(b"%032d" % number, Contribution(child, scores, np.ones(1, np.bool_), mine), reply, 0)

    def microseconds(child: int, numbers: range) -> float:
        begin = perf_counter()
        for number in numbers:
            offer(number, child)
        return 1e6 * (perf_counter() - begin) / len(numbers)

    async def last(numbers: range) -> float:
        begin = perf_counter()
        for number in numbers:
            offer(number, WAITING_DEVICES - 1)
        while collector.pending > before:
            await asyncio.sleep(0)
            for event in complete.events:
                event.settle(answer)
            complete.events.clear()
        return 1e6 * (perf_counter() - begin) / len(numbers)

    process, rows, before = psutil.Process(), [], 0
    gc.collect()
    empty = process.memory_info().rss
    levels = [size for size in (100, 1_000, 10_000, 30_000, 100_000) if size <= most]
    for level in levels:
        for number in range(before, level):
            for child in range(WAITING_DEVICES - 1):
                offer(number, child)
        before = level
        gc.collect()
        memory = process.memory_info().rss - empty
        fresh = range(10 * most + level, 10 * most + level + PART)
        first = microseconds(0, fresh)
        later = [microseconds(child, fresh) for child in range(1, WAITING_DEVICES - 1)]
        row = {"waiting": level, "first_us": first, "next_us": float(np.mean(later)), "last_us": await last(fresh)}
        rows.append({**row, "memory_bytes": memory, "bytes_per_event": memory / level})
    collector.close()
    return {"devices": WAITING_DEVICES, "contributed": WAITING_DEVICES - 1, "levels": rows}


DEVICES: Final = (1, 2, 4, 8, 16, 32, 64)
LOADS: Final[dict[str, dict[str, str | float]]] = {"local": {"max_exit": "local"}, "cloud": {"threshold": 0.0}}
"""Answered where the scores are fused (one message a device), and at the cloud (two a device, one an edge)."""
TIERS: Final = ("device", "edge", "cloud")
RATE: Final = 3.0
"""Events a second: the same for all, as a process that is asked seldom pays more for each request than a busy one."""
FOLLOWED: Final = (4, 1)
"""Devices and edges of the fleet that is also watched while nothing is asked."""
FEWEST: Final = 5
"""Answers that a cost is told of."""
TARGET: Final = 1.1
"""Flat or falling: the cost with 64 devices is at most so many times that with 1, measured as it is."""


def by_tier(used: Mapping[str, float]) -> dict[str, float]:
    """Sums over the processes of a kind."""
    return {tier: sum(value for name, value in used.items() if name.partition("-")[0] == tier) for tier in TIERS}


def used_in(processes: Processes, seconds: float) -> dict[str, float]:
    """CPU seconds a second by tier, while nothing is asked."""
    before = processes.read().cpu_s
    time.sleep(seconds)
    after = processes.read().cpu_s
    return by_tier({name: (after[name] - before[name]) / seconds for name in after})


def following(bundle: Bundle, seconds: float) -> dict[str, float]:
    """CPU in milliseconds a second and device while nothing is asked and devices and edge follow the policy."""
    with LocalFleet(bundle.path, base_port=0) as fleet:
        fleet.wait_until_ready(seconds=240)
        processes = Processes({name: fleet.pid(name) for name in fleet.members})
        time.sleep(2.0)  # what comes with the start is over
        used = used_in(processes, seconds)
    return {tier: 1000 * value / len(bundle.topology.devices) for tier, value in used.items()}


def row(bundle: Bundle, seconds: float) -> dict[str, Any]:
    """Load a fleet of `bundle`; CPU in milliseconds for a device and event, memory in bytes a process."""
    devices, events = len(bundle.topology.devices), golden_events(bundle)
    found: dict[str, Any] = {"devices": devices, "edges": len(bundle.topology.edges)}
    with LocalFleet(bundle.path, base_port=0, env={"DDNN_POLICY_POLL_S": "60"}) as fleet:
        begin = time.monotonic()
        fleet.wait_until_ready(seconds=240)
        found["seconds_to_start"] = time.monotonic() - begin
        processes = Processes({name: fleet.pid(name) for name in fleet.members})
        time.sleep(1.0)  # what comes with the start is over
        idle = used_in(processes, 2.0)
        for name, parameters in LOADS.items():
            target = FleetTarget(fleet.device_urls, events.views, deadline_s=20.0, parameters=parameters)
            measured = measure(
                target, Poisson(RATE), seconds=seconds, warm_up_s=1.0, deadline_s=20.0, processes=processes
            )
            cpu = by_tier(measured.cpu_s)
            net = {tier: max(0.0, cpu[tier] - idle[tier] * seconds) for tier in TIERS}
            per = {tier: 1000 * net[tier] / max(1, measured.answered) / devices for tier in TIERS}
            found[name] = {
                "answered": measured.answered,
                "events_per_s": measured.goodput,
                "p50_ms": (measured.latency_ms or {}).get("p50"),
                "degraded": measured.degraded,
                "errors": dict(measured.errors),
                "share_there": measured.share(name),
                "cpu_ms_per_device_and_event": {**per, "all": sum(per.values())},
                "client_busy": measured.client_busy,
            }
        memory = by_tier(measured.memory_bytes)
        found["memory_mb"] = {
            "device": memory["device"] / devices / 1e6,
            "edge": memory["edge"] / len(bundle.topology.edges) / 1e6,
            "cloud": memory["cloud"] / 1e6,
        }
    return found


def grow(seconds: float, sizes: Sequence[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    """A row for each number of devices and edges."""
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: what exports leave behind would be the load generator's to carry.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            paths = list(pool.map(partial(made, Path(folder)), sizes))
        for (devices, edges), path in zip(sizes, paths, strict=True):
            found = row(Bundle.open(path), seconds)
            if (devices, edges) == FOLLOWED:
                found["following_ms_per_s"] = following(Bundle.open(path), seconds)
            told = ", ".join(f"{name} {found[name]['cpu_ms_per_device_and_event']['all']:.2f} ms" for name in LOADS)
            print(f"{devices} devices, {edges} edges: {told} of CPU a device and event", flush=True)
            yield found


def made(folder: Path, size: tuple[int, int]) -> Path:
    """Where the bundle of so many devices and edges is."""
    return make(folder / f"{size[0]}-{size[1]}", *size).path


def verdict(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Cost with the most devices over that with one, by load."""
    one_edge = [each for each in rows if each["edges"] == 1]
    ratios: dict[str, float | None] = {}
    for name in LOADS:
        first, last = one_edge[0][name], one_edge[-1][name]
        enough = min(first["answered"], last["answered"]) >= FEWEST and last["share_there"] > 0.5
        cost = [each["cpu_ms_per_device_and_event"]["all"] for each in (last, first)]
        ratios[name] = cost[0] / cost[1] if enough else None
    return {
        "devices": one_edge[-1]["devices"],
        "cost_against_one_device": ratios,
        "flat_or_falling": all(ratio is not None and ratio <= TARGET for ratio in ratios.values()),
    }


def report(found: Mapping[str, Any]) -> str:
    """Markdown."""
    head = [
        "devices",
        "edges",
        "devices' ms",
        "edges' ms",
        "cloud ms",
        "all ms",
        "events/s",
        "p50 ms",
        "answered there",
    ]
    lines = ["# What a fleet costs as it grows\n", f"`{found['command']}`\n"]
    for name, title in (("local", "Answered at the local exit"), ("cloud", "Answered at the cloud")):
        rows = []
        for each in found["rows"]:
            told, cpu = each[name], each[name]["cpu_ms_per_device_and_event"]
            costs = [f"{cpu[key]:.2f}" for key in (*TIERS, "all")]
            p50 = "—" if told["p50_ms"] is None else f"{told['p50_ms']:,.0f}"
            there = f"{100 * told['share_there']:.0f} %"
            rows.append([str(each["devices"]), str(each["edges"]), *costs, f"{told['events_per_s']:,.1f}", p50, there])
        lines += [
            f"{title}; CPU in milliseconds for a device and event, three events a second:\n",
            markdown(head, rows),
        ]
    rows = [
        [str(each["devices"]), str(each["edges"])]
        + [f"{each['memory_mb'][tier]:.0f}" for tier in TIERS]
        + [f"{each['seconds_to_start']:.0f}"]
        for each in found["rows"]
    ]
    memory = [f"MB a {tier}" for tier in TIERS]
    lines += ["Memory a process:\n", markdown(["devices", "edges", *memory, "s to start all"], rows)]
    for each in found["rows"]:
        if idle := each.get("following_ms_per_s"):
            told = f"{idle['device']:.1f} ms of CPU a second at itself and {idle['edge']:.1f} ms at its edge"
            lines += [f"While nothing is asked, following the policy costs a device {told}.\n"]
    keys = ("first_us", "next_us", "last_us", "bytes_per_event")
    rows = [
        [f"{each['waiting']:,}", *(f"{each[key]:.0f}" for key in keys), f"{each['memory_bytes'] / 1e6:,.0f}"]
        for each in found["collector"]["levels"]
    ]
    columns = ["events waiting", "first µs", "next µs", "last µs, with answer", "bytes an event", "MB"]
    ratios = ", ".join(
        f"{'not measured' if value is None else f'{value:.2f}×'} ({name})"
        for name, value in found["verdict"]["cost_against_one_device"].items()
    )
    return "\n".join(
        [
            *lines,
            "The collector alone, five of six devices' scores there; µs a contribution:\n",
            markdown(columns, rows),
            f"Cost a device and event with {found['verdict']['devices']} devices against one: {ratios};"
            f" flat or falling: {'yes' if found['verdict']['flat_or_falling'] else 'no'}.\n",
            "![scale](scale.png)\n",
        ]
    )


def plot(found: Mapping[str, Any], file: Path) -> None:
    """Cost over devices, and over waiting events."""
    from ddnn.plot_style import COLOURS, name, panels
    from ddnn_lab.plots import save

    figure, (cost, wait) = panels(2, height=6.4)
    rows = [each for each in found["rows"] if each["edges"] == 1]
    x = [each["devices"] for each in rows]
    for load, style in (("local", "--"), ("cloud", "-")):
        for key, colour in (("device", COLOURS["device"]), ("edge", COLOURS["edge"]), ("all", COLOURS["overall"])):
            told = [each[load]["cpu_ms_per_device_and_event"][key] for each in rows]
            cost.plot(x, told, style, marker="o", markersize=4, color=colour, label=f"{key}, answered at {load}")
    cost.set_xscale("log", base=2)
    cost.set_xticks(x, [str(each) for each in x])
    cost.set_ylim(bottom=0)
    name(cost, "CPU for a device and event, one edge", "devices", "ms")
    levels = found["collector"]["levels"]
    for key, colour in (("first_us", COLOURS["local"]), ("next_us", COLOURS["edge"]), ("last_us", COLOURS["cloud"])):
        wait.plot(
            [each["waiting"] for each in levels], [each[key] for each in levels], "o-", color=colour, label=key[:-3]
        )
    wait.set_xscale("log")
    wait.set_ylim(bottom=0)
    name(wait, "The collector: a contribution, over the events that wait", "events", "µs")
    for on in (cost, wait):
        on.legend(fontsize=8, loc="best")
    save(figure, file)


def main() -> None:
    """Measure, print, write."""
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--quick", action="store_true", help="few devices, short loads: does it all work?")
    given = parser.parse_args()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        collector = pool.submit(pending, 1_000 if given.quick else 100_000).result()
    sizes = [(1, 1), (4, 1), (4, 2)] if given.quick else [*((devices, 1) for devices in DEVICES), (64, 4)]
    rows = list(grow(2.5 if given.quick else given.seconds, sizes))
    found = {
        "command": f"python -m ddnn_lab.benchmarks.scale --out {given.out.name}",
        **environment(),
        "rows": rows,
        "collector": collector,
        "verdict": verdict(rows),
    }
    files = ("results.json", "report.md")
    write(given.out, "scale", found, report(found), partial(plot, found), files=files)


if __name__ == "__main__":
    main()
