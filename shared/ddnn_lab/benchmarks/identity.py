"""What mutual TLS costs a tier over kept connections: the same cloud with and without an identity.

`python -m ddnn_lab.benchmarks.identity --out DIR [--seconds 2] [--rounds 7]`, under two minutes. Real processes on
127.0.0.1; the tiers share one CPU and the asking has another, where there are two. Both get the same bytes in short
rounds by turns, so that whatever else the machine does hits both alike; the ratio is of the rounds side by side.
"""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.fleet.site import furnish
from ddnn.identity import Identity
from ddnn.types import Tier
from ddnn.uplink.uplink import INFER_PATH
from ddnn_lab.benchmarks import RESULTS, Out, command, free_port, listening, write
from ddnn_lab.benchmarks.hotpath import CONCURRENT, one_event
from ddnn_lab.load import Closed, HttpTarget, Measured, Outcome, Processes, measure

__all__ = ["compare"]

_FIGURES: Final = {"per_second": "requests/s", "cpu_us": "CPU µs a request", "p50_ms": "p50 ms", "p99_ms": "p99 ms"}


def compare(seconds: float, rounds: int, cpu: int | None) -> dict[str, Any]:
    """Figures of both by the round, and the shares of requests/s that mutual TLS leaves."""
    body, headers = one_event(Tier.CLOUD)
    loads: dict[str, list[dict[str, float]]] = {"plain": [], "mutual": []}
    with ExitStack() as stack:
        site = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ddnn-")))
        furnish(site, Bundle.open(shipped_bundle()).topology)
        edge = Identity(site / "edge-0", Tier.EDGE, 0)
        edge.expect(Tier.CLOUD, 0)
        targets = {}
        for name in loads:
            port = free_port()
            own = {"DDNN_IDENTITY": str(site / "cloud-0")} if name == "mutual" else {}
            arguments = ("-m", "ddnn", "serve", "cloud", "--port", f"{port}", "--log-level", "error")
            pid = stack.enter_context(listening(*arguments, port=port, cpu=cpu, **own))
            url = f"{'https' if own else 'http'}://127.0.0.1:{port}{INFER_PATH}"
            target = HttpTarget(url, [body], lambda _, answer: Outcome(bool(answer)), headers, tls=edge.client)
            targets[name] = target, Processes({"server": pid})

        def ask(name: str, length: float) -> dict[str, float]:
            target, processes = targets[name]
            return _figures(measure(target, Closed(CONCURRENT), seconds=length, warm_up_s=1.0, processes=processes))

        for name in targets:
            ask(name, 0.5)
        for turn in range(rounds):
            for name in sorted(targets, reverse=bool(turn % 2)):
                loads[name].append(ask(name, seconds))
    pairs = zip(loads["plain"], loads["mutual"], strict=True)
    shares = [mutual["per_second"] / plain["per_second"] for plain, mutual in pairs]
    medians = {name: {key: float(np.median([load[key] for load in loads[name]])) for key in _FIGURES} for name in loads}
    return {"servers": medians, "of_plain": float(np.median(shares)), "of_plain_rounds": shares}


def _figures(load: Measured) -> dict[str, float]:
    latency = load.latency_ms or {}
    costs = {"per_second": load.answered / load.seconds, "cpu_us": 1e6 * load.cpu_s["server"] / load.answered}
    return {**costs, "p50_ms": latency["p50"], "p99_ms": latency["p99"]}


def main(out: Out = RESULTS, seconds: float = 2.0, rounds: int = 7) -> None:
    """Measure, print, and write `identity.json` and `identity.md`."""
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(cpus[1:] or cpus))
    found = compare(seconds, rounds, cpus[0] if len(cpus) > 1 else None)
    os.sched_setaffinity(0, set(cpus))
    heads = " | ".join(_FIGURES.values())
    lines = ["# What mutual TLS costs", "", f"| cloud, 16 concurrent | {heads} |", "| --- " * 5 + "|"]
    for name, words in (("plain", "plain HTTP"), ("mutual", "mutual TLS")):
        own = found["servers"][name]
        costs = f"{own['per_second']:,.0f} | {own['cpu_us']:.0f} | {own['p50_ms']:.2f} | {own['p99_ms']:.2f}"
        lines.append(f"| {words} | {costs} |")
    rounds_of = ", ".join(f"{share:.3f}" for share in found["of_plain_rounds"])
    lines += ["", f"Requests/s with mutual TLS, of those without: {found['of_plain']:.3f} (rounds: {rounds_of}).", ""]
    write(out, "identity", found, page="\n".join(lines))


if __name__ == "__main__":
    command(__doc__, main)
