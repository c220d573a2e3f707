"""A server with and without something, loaded by turns: whatever else the machine does hits both alike."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from ddnn_lab.benchmarks.hotpath import CONCURRENT
from ddnn_lab.load import Closed, HttpTarget, Measured, Processes, measure

__all__ = ["apart", "by_turns", "page"]

FIGURES: Final = {"per_second": "requests/s", "cpu_us": "CPU µs a request", "p50_ms": "p50 ms", "p99_ms": "p99 ms"}


@contextmanager
def apart() -> Iterator[int | None]:
    """A CPU for servers, and the others for what asks them, where there are two."""
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(cpus[1:] or cpus))
    try:
        yield cpus[0] if len(cpus) > 1 else None
    finally:
        os.sched_setaffinity(0, set(cpus))


def by_turns(targets: Mapping[str, tuple[HttpTarget, int]], seconds: float, rounds: int) -> dict[str, Any]:
    """Medians of each server's figures, and the share of the first one's requests/s that the second one has.

    `targets`: of two servers each what asks it, and its process id.
    """
    loads: dict[str, list[dict[str, float]]] = {name: [] for name in targets}

    def ask(name: str, length: float) -> dict[str, float]:
        target, pid = targets[name]
        processes = Processes({"server": pid})
        return _figures(measure(target, Closed(CONCURRENT), seconds=length, warm_up_s=1.0, processes=processes))

    for name in targets:
        ask(name, 0.5)
    for turn in range(rounds):
        for name in sorted(targets, reverse=bool(turn % 2)):
            loads[name].append(ask(name, seconds))
    without, beside = loads.values()
    shares = [more["per_second"] / plain["per_second"] for plain, more in zip(without, beside, strict=True)]
    medians = {
        name: {key: float(np.median([load[key] for load in own])) for key in FIGURES} for name, own in loads.items()
    }
    return {"servers": medians, "of_plain": float(np.median(shares)), "of_plain_rounds": shares}


def page(title: str, found: Mapping[str, Any], words: Mapping[str, str], what: str) -> str:
    """The figures as a page; `words` name the servers, `what` is what the second one has."""
    heads = " | ".join(FIGURES.values())
    lines = [f"# {title}", "", f"| cloud, {CONCURRENT} concurrent | {heads} |", "| --- " * 5 + "|"]
    for name, word in words.items():
        own = found["servers"][name]
        costs = f"{own['per_second']:,.0f} | {own['cpu_us']:.0f} | {own['p50_ms']:.2f} | {own['p99_ms']:.2f}"
        lines.append(f"| {word} | {costs} |")
    rounds = ", ".join(f"{share:.3f}" for share in found["of_plain_rounds"])
    return "\n".join(
        [*lines, "", f"Requests/s with {what}, of those without: {found['of_plain']:.3f} (rounds: {rounds}).", ""]
    )


def _figures(load: Measured) -> dict[str, float]:
    latency = load.latency_ms or {}
    costs = {"per_second": load.answered / load.seconds, "cpu_us": 1e6 * load.cpu_s["server"] / load.answered}
    return {**costs, "p50_ms": latency["p50"], "p99_ms": latency["p99"]}
