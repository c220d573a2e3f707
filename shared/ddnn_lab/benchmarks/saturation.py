"""A tier offered up to three times what it can do: goodput, the wait of who is accepted, and how quick a refusal is.

`python -m ddnn_lab.benchmarks.saturation --out DIR [--seconds 8]`, under three minutes. The cloud of the shipped bundle
as a real process, its section slowed to 5 ms an event (it sleeps), so that the section is what saturates and not the
load generator. First a closed loop finds the peak, then events come by themselves (Poisson) at 1, 2 and 3 times that.
Twice: once what bounds the queue is the number of requests in flight, once the deadline.
"""

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import uvloop

from ddnn.answers import outputs_to_answers
from ddnn.bundle import Bundle, shipped_bundle
from ddnn.formatting import markdown
from ddnn.plot_style import name, panels
from ddnn.types import Array
from ddnn.wire import decode_response, encode_request
from ddnn_lab.benchmarks.report import environment, free_port, listening, options, write
from ddnn_lab.load import Closed, HttpTarget, Measured, Outcome, Poisson, Processes, measure_async, percentiles
from ddnn_lab.plots import save

__all__ = ["main"]

SECTION_S: Final = 0.005
TIMES: Final = (1.0, 2.0, 3.0)
WARM_UP_S: Final = 2.0
PATH: Final = "/v2/models/ddnn/infer"


@dataclass(frozen=True)
class Bound:
    """What limits the queue, and how long it can be at most."""

    name: str
    in_flight: int
    deadline_s: float

    @property
    def wait_s(self) -> float:
        """The longest wait that the bound allows: all that may be in flight, each its turn, or the deadline."""
        return min(self.in_flight * SECTION_S, self.deadline_s)


BOUNDS: Final = (Bound("in flight", 64, 2.0), Bound("deadline", 1000, 0.5))


@dataclass
class Told:
    """A target that also keeps how long each refusal took."""

    inner: HttpTarget
    refused: list[tuple[str, float]] = field(default_factory=list)

    async def __call__(self, number: int) -> Outcome:
        """Ask, and note what was refused."""
        start = time.perf_counter()
        outcome = await self.inner(number)
        self.refused += [(code, time.perf_counter() - start) for code in outcome.errors]
        return outcome

    async def aclose(self) -> None:
        """Close the connections."""
        await self.inner.aclose()


def serve(port: int, bound: Bound) -> None:
    """The cloud with its slow section; does not return."""
    from ddnn.runtime import Section
    from ddnn.serving.server import serve_app
    from ddnn.settings import Settings
    from ddnn_cloud.app import create_app

    app, run = create_app(Settings(port=port, max_in_flight=bound.in_flight, max_section_batch=8)), Section.run

    def slow(self: Section, **inputs: Array) -> dict[str, Array]:
        time.sleep(SECTION_S * len(next(iter(inputs.values()))))
        return run(self, **inputs)

    Section.run = slow  # type: ignore[method-assign]
    serve_app(app, app.state.service.settings)


def target(port: int, bound: Bound) -> Told:
    """One event a request, as an edge sends it; an answer is right in form, and not degraded."""
    golden = Bundle.open(shipped_bundle()).golden
    inputs = {"features": golden["edge_features"][:1, 0], "present": np.ones((1, 6), np.bool_)}
    body, headers = encode_request(inputs, parameters={"edge": 0}, binary_output=False)

    def read(_: int, content: bytes) -> Outcome:
        (answer,) = outputs_to_answers(decode_response(content).outputs, rows=1)
        return Outcome(not answer.degraded and answer.label >= 0, errors=("degraded",) if answer.degraded else ())

    own = {"x-ddnn-deadline-ms": f"{1000 * bound.deadline_s:.0f}", **headers}
    return Told(HttpTarget(f"http://127.0.0.1:{port}{PATH}", [body], read, own, deadline_s=bound.deadline_s))


async def load(pid: int, port: int, bound: Bound, arrivals: Closed | Poisson, seconds: float) -> dict[str, Any]:
    """One point."""
    told = target(port, bound)
    measured: Measured = await measure_async(
        told,
        arrivals,
        seconds=seconds,
        warm_up_s=WARM_UP_S,
        deadline_s=bound.deadline_s,
        processes=Processes({"tier": pid}),
    )
    codes = {code: sum(each == code for each, _ in told.refused) for code, _ in told.refused}
    return {
        **measured.document(),
        "refused": codes,
        "refusal_ms": percentiles([took for code, took in told.refused if code == "429"]),
    }


def run(bound: Bound, seconds: float) -> dict[str, Any]:
    """The peak, then multiples of it."""
    port = free_port()
    own = ("-m", "ddnn_lab.benchmarks.saturation", "--serve", str(port), "--bound", bound.name)
    with listening(*own, port=port) as pid:
        peak = uvloop.run(load(pid, port, bound, Closed(24), seconds))
        points = [
            {"times": times, **uvloop.run(load(pid, port, bound, Poisson(times * peak["goodput_per_s"]), seconds))}
            for times in TIMES
        ]
    return {
        "bound": bound.name,
        "in_flight": bound.in_flight,
        "deadline_s": bound.deadline_s,
        "implied_ms": 1000 * bound.wait_s,
        "peak": peak,
        "points": points,
    }


def judged(found: Mapping[str, Any]) -> dict[str, bool]:
    """What was promised of three times the peak, and whether it held."""
    worst, peak = found["points"][-1], found["peak"]
    refusal, accepted = worst["refusal_ms"], worst["latency_ms"] or {"p99": math.inf}
    return {
        "goodput at least 90 % of the peak": worst["goodput_per_s"] >= 0.9 * peak["goodput_per_s"],
        "p99 of the accepted at most twice what the bound implies": accepted["p99"] <= 2 * found["implied_ms"],
        "half of the refusals within 10 ms": bool(refusal) and refusal["p50"] <= 10,
        "memory flat (at most 5 % more)": worst["memory_bytes"]["tier"] <= 1.05 * peak["memory_bytes"]["tier"],
    }


def report(results: Sequence[Mapping[str, Any]]) -> str:
    """The tables."""
    parts = ["# Saturation", f"The section takes {1000 * SECTION_S:g} ms an event. Times in ms."]
    columns = ("offered", "goodput", "accepted p50", "p99", "refused", "refusal p50", "p99", "memory")
    for found in results:
        parts += [
            f"## Bounded by: {found['bound']}",
            f"At most {found['in_flight']} in flight, deadline {1000 * found['deadline_s']:g} ms:"
            f" a queue of {found['implied_ms']:g} ms at most. Peak {found['peak']['goodput_per_s']:.0f}/s.",
            markdown(columns, map(_cells, found["points"])).rstrip(),
            "\n".join(f"- {'met' if met else '**missed**'}: {what}" for what, met in judged(found).items()),
        ]
    return "\n\n".join(parts)


def _cells(point: Mapping[str, Any]) -> tuple[str, ...]:
    accepted, refusal = (point[key] or {"p50": 0.0, "p99": 0.0} for key in ("latency_ms", "refusal_ms"))
    return (
        f"{point['offered_per_s']:.0f} ({point['times']:g}×)",
        f"{point['goodput_per_s']:.0f}",
        f"{accepted['p50']:.0f}",
        f"{accepted['p99']:.0f}",
        ", ".join(f"{code}: {count}" for code, count in sorted(point["refused"].items())) or "none",
        f"{refusal['p50']:.1f}",
        f"{refusal['p99']:.1f}",
        f"{point['memory_bytes']['tier'] / 2**20:.0f} MiB",
    )


def draw(results: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Goodput and p99 over what is offered."""
    figure, (goodput, accepted) = panels(2, height=3.4, columns=2)
    for place, found in enumerate(results):
        points, peak, colour = found["points"], found["peak"]["goodput_per_s"], f"C{place}"
        times = [point["times"] for point in points]
        tails = [(point["latency_ms"] or {"p99": math.nan})["p99"] for point in points]
        goodput.plot(times, [point["goodput_per_s"] / peak for point in points], "o-", color=colour)
        accepted.plot(times, tails, "o-", label=f"bounded by: {found['bound']}", color=colour)
        accepted.axhline(2 * found["implied_ms"], linestyle=":", linewidth=1, color=colour)
    goodput.axhline(0.9, color="grey", linestyle=":", linewidth=1)
    goodput.set_ylim(0, 1.2)
    accepted.set_ylim(bottom=0)
    name(goodput, "Goodput / peak", "offered / peak", "")
    name(accepted, "p99 of the accepted (dotted: twice the bound)", "offered / peak", "ms")
    accepted.legend(fontsize=8)
    save(figure, file)


def main() -> None:
    """Measure and write `saturation.{json,md,png}`."""
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--bound", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, next(bound for bound in BOUNDS if bound.name == given.bound))
        return
    results = [{**environment(), **run(bound, given.seconds)} for bound in BOUNDS]
    write(given.out, "saturation", results, report(results), partial(draw, results))


if __name__ == "__main__":
    main()
