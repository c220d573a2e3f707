"""A server with and without something, loaded by turns: whatever else the machine does hits both alike."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, Any, Final

import numpy as np
from typer import Option

from ddnn.errors import DDNNError
from ddnn_lab.benchmarks.hotpath import CONCURRENT
from ddnn_lab.load import Closed, Measured, Processes, Target, measure

__all__ = ["Rounds", "Servers", "Starts", "apart", "by_turns", "page"]

FIGURES: Final = {"per_second": "requests/s", "cpu_us": "CPU µs a request", "p50_ms": "p50 ms", "p99_ms": "p99 ms"}
Servers = Mapping[str, tuple[Target, int]]
"""Of two servers, the first without: what asks it, and its process id."""
Rounds = Annotated[int, Option(min=1, help="How often each is loaded.")]
Starts = Annotated[int, Option(min=1, help="Of so many server processes; each keeps its luck of memory layout.")]
_WARM_UP_S: Final = 1.0
_CONNECTING_S: Final = 0.15


@contextmanager
def apart() -> Iterator[int | None]:
    """A CPU for servers, and the others for what asks them, where there are two."""
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(cpus[1:] or cpus))
    try:
        yield cpus[0] if len(cpus) > 1 else None
    finally:
        os.sched_setaffinity(0, set(cpus))


def by_turns(
    servers: Callable[[], AbstractContextManager[Servers]], seconds: float, rounds: int, starts: int = 1
) -> dict[str, Any]:
    """Medians of each server's figures, and the share of the first one's requests/s that the second one has.

    `servers` starts both; that is done `starts` times, and the rounds are shared out among them. A process keeps its
    luck of memory layout, a few per cent, so it is starts that are independent: the share is the geometric mean of
    their medians, and its standard error theirs.
    """
    starts = min(starts, rounds)
    loads: dict[str, list[dict[str, float]]] = {}
    of_start: list[float] = []
    for start in range(starts):
        with servers() as targets:
            for target, _ in targets.values():
                measure(target, Closed(CONCURRENT), seconds=_WARM_UP_S, warm_up_s=0.0)
            for turn in range(start, rounds, starts):
                for name in sorted(targets, reverse=bool(turn // starts % 2)):
                    loads.setdefault(name, []).append(_load(*targets[name], seconds))
            without, beside = ([load["per_second"] for load in loads[name]] for name in targets)
            shares = [more / plain for plain, more in zip(without, beside, strict=True)]
            of_start.append(float(np.median(shares[-len(range(start, rounds, starts)) :])))
    medians = {
        name: {key: float(np.median([load[key] for load in loads[name]])) for key in FIGURES} for name in targets
    }
    logs = np.log(of_start)
    share = {"of_plain": float(np.exp(logs.mean())), "of_plain_starts": of_start, "of_plain_rounds": shares}
    if starts > 1:
        share["of_plain_error"] = float(logs.std(ddof=1) / np.sqrt(starts))
    return {"servers": medians, **share, "starts": starts}


def _load(target: Target, pid: int, seconds: float) -> dict[str, float]:
    processes = Processes({"server": pid})
    load = measure(target, Closed(CONCURRENT), seconds=seconds, warm_up_s=_CONNECTING_S, processes=processes)
    if not load.answered:
        raise DDNNError(f"nothing was answered; what came instead: {dict(load.errors)}")
    return _figures(load)


def page(title: str, found: Mapping[str, Any], words: Mapping[str, str], what: str) -> str:
    """The figures as a page; `words` name the servers, `what` is what the second one has."""
    heads = " | ".join(FIGURES.values())
    lines = [f"# {title}", "", f"| cloud, {CONCURRENT} concurrent | {heads} |", "| --- " * 5 + "|"]
    for name, word in words.items():
        own = found["servers"][name]
        costs = f"{own['per_second']:,.0f} | {own['cpu_us']:.0f} | {own['p50_ms']:.2f} | {own['p99_ms']:.2f}"
        lines.append(f"| {word} | {costs} |")
    share = f"Requests/s with {what}, of those without: {found['of_plain']:.3f}"
    error = f" ± {found['of_plain_error']:.3f} (standard error)" if "of_plain_error" in found else ""
    medians = ", ".join(f"{share:.3f}" for share in found["of_plain_starts"])
    rounds = len(found["of_plain_rounds"])
    return "\n".join([*lines, "", f"{share}{error}; {rounds} rounds, medians of each start: {medians}.", ""])


def _figures(load: Measured) -> dict[str, float]:
    latency = load.latency_ms or {}
    costs = {"per_second": load.answered / load.seconds, "cpu_us": 1e6 * load.cpu_s["server"] / load.answered}
    return {**costs, "p50_ms": latency["p50"], "p99_ms": latency["p99"]}
