"""A study of load: points over a range of rates, as a table, a document and a plot."""

import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from ddnn.extensions import needed_for
from ddnn.formatting import markdown
from ddnn.seal import write_atomically
from ddnn.types import Exit
from ddnn_lab.load.drive import Arrivals, Closed, Poisson, Processes, Target
from ddnn_lab.load.measured import Measured, measure
from ddnn_lab.reporting import render

__all__ = ["COLUMNS", "Plan", "cells", "document", "sweep", "write"]

Document = Mapping[str, Any]

_AT_MOST: Final = Closed(16)
_SHARES: Final = (0.25, 0.5, 0.75, 1.0, 1.5)


@dataclass(frozen=True)
class Plan:
    """How each load is made."""

    seconds: float = 10.0
    warm_up_s: float = 2.0
    deadline_s: float = 2.0
    workers: int = 1
    seed: int = 0


def sweep(
    target: Callable[[], Target],
    loads: Sequence[Arrivals],
    plan: Plan,
    processes: Processes,
    *,
    begins: Callable[[Arrivals], object] = lambda load: None,
    progress: Callable[[float, int], object] | None = None,
) -> Iterator[Measured]:
    """Measure each of `loads` on a new target; yield what was found.

    Without loads: 16 clients find what the target does at most, then events come by themselves at shares of that.
    `begins` hears of each load, `progress` its seconds and events.
    """

    def one(load: Arrivals) -> Measured:
        begins(load)
        return measure(
            target(),
            load,
            seconds=plan.seconds,
            warm_up_s=plan.warm_up_s,
            deadline_s=plan.deadline_s,
            processes=processes,
            workers=plan.workers,
            progress=progress,
        )

    if not loads:
        most = one(_AT_MOST)
        yield most
        loads = [Poisson(float(f"{share * most.goodput:.2g}"), plan.seed) for share in _SHARES if most.goodput]
    for load in loads:
        yield one(load)


COLUMNS: Final = (
    *("load", "offered/s", "goodput/s", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "max ms"),
    *("accuracy", "degraded", "failed", "answered at", "CPU ms/event", "client"),
)
"""Of the table on the terminal and in the report; CPU of the whole fleet, the client's in cores."""


def document(points: Sequence[Measured], **about: Any) -> dict[str, Any]:
    """The whole of `results.json`; `about` says what was loaded and how."""
    libraries = ("ddnn", "onnxruntime", "fastapi", "uvicorn", "numpy")
    return {
        "format": 1,
        **about,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in libraries}},
        "cores": os.cpu_count(),
        "points": [point.document() for point in points],
    }


def cells(point: Document) -> list[str]:
    """One row of the table: `point` as `Measured.document` made it."""
    latency, share, client = point["latency_ms"] or {}, point["exit_share"], point["client"]
    times = [f"{latency[key]:,.1f}" if latency else "—" for key in ("p50", "p90", "p95", "p99", "max")]
    exits = ", ".join(f"{exit} {100 * share[exit]:.0f} %" for exit in Exit if exit in share)
    accuracy, cpu = point["accuracy"], point["cpu_ms_per_event"]
    return [
        load(point),
        f"{point['offered_per_s']:,.1f}",
        f"{point['goodput_per_s']:,.1f}",
        *times,
        "—" if accuracy is None else f"{100 * accuracy:.1f} %",
        f"{100 * point['degraded_share']:.1f} %",
        f"{point['events'] - point['answered']}",
        exits,
        "—" if cpu is None else f"{cpu:.1f}",
        f"{client['busy']:.2f}" + ("!" if client["was_the_limit"] else ""),
    ]


def load(point: Document) -> str:
    """`100/s`, or `16 at once`."""
    arrivals = point["arrivals"]
    return f"{arrivals['rate']:g}/s" if arrivals["kind"] == "poisson" else f"{arrivals['clients']} at once"


def write(results: Document, folder: Path) -> list[Path]:
    """Write everything into `folder` and return the files; raise `BadInput` where plots cannot be drawn."""
    with needed_for("a report of load", extra="lab"):
        from ddnn_lab.plots.serving import draw_load
    folder.mkdir(parents=True, exist_ok=True)
    files = draw_load(results, folder)
    texts = {"results.json": json.dumps(results, indent=1) + "\n", "report.md": _report(results, files)}
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in texts] + files


def _report(results: Document, plots: Sequence[Path]) -> str:
    rows = markdown(COLUMNS, map(cells, results["points"]))
    return render("load.md", **results, table=rows, tiers=_tiers(results), plots=plots)


def _tiers(results: Document) -> str:
    """CPU by tier, and what passed the links."""
    rows = []
    for point in results["points"]:
        if not point["answered"] or len(point["cpu_s"]) < 2:
            continue
        used = {tier: 0.0 for tier in ("device", "edge", "cloud")}
        for name, seconds in point["cpu_s"].items():
            tier = name.partition("-")[0]
            if tier in used:
                used[tier] += 1000 * seconds / point["answered"]
        passed = point["passed_per_event"]
        wire = [f"{each['up']:,.0f} / {each['down']:,.0f}" for each in passed.values()]
        rows.append([load(point), *(f"{value:.2f}" for value in used.values()), *wire])
    if not rows:
        return ""
    links = [f"{name} bytes up / down" for name in results["points"][0]["passed_per_event"]]
    return markdown(["load", "devices ms", "edges ms", "cloud ms", *links], rows) + (
        "CPU in milliseconds for an answered event, all tiers of a kind together.\n"
    )
