"""A tier offered up to three times what it can do: goodput, the wait of who is accepted, and how quick a refusal is.

`python -m ddnn_lab.benchmarks.saturation --out DIR [--seconds 8]`, under three minutes. The cloud of the shipped bundle
as a real process, its section slowed to 5 ms an event (it sleeps), so that the section is what saturates and not the
load generator. First a closed loop finds the peak, then events come by themselves (Poisson) at 1, 2 and 3 times that.
Twice: once what bounds the queue is the number of requests in flight, once the deadline.
"""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from ddnn.answers import outputs_to_answers
from ddnn.bundle import Bundle, shipped_bundle
from ddnn.plot_style import name, panels
from ddnn.types import Array
from ddnn.uplink.uplink import INFER_PATH
from ddnn.wire import decode_response, encode_request
from ddnn_lab.benchmarks import RESULTS, Out, command, free_port, listening, write
from ddnn_lab.load import Closed, HttpTarget, Outcome, Poisson, Processes, measure, percentiles

__all__ = ["serve"]

SECTION_S: Final = 0.005
TIMES: Final = (1.0, 2.0, 3.0)
WARM_UP_S: Final = 2.0
BOUNDS: Final = {"in flight": (64, 2.0), "deadline": (1000, 0.5)}
"""What limits the queue: requests in flight, and seconds until the deadline."""


@dataclass
class Refusing(HttpTarget):
    """A target that also keeps how long each refusal took."""

    refused: list[tuple[str, float]] = field(default_factory=list)

    async def __call__(self, number: int) -> Outcome:
        """Ask, and note what was refused."""
        start = time.perf_counter()
        outcome = await super().__call__(number)
        self.refused += [(code, time.perf_counter() - start) for code in outcome.errors]
        return outcome


def serve(port: int, in_flight: int) -> None:
    """The cloud with its slow section; does not return."""
    from ddnn.runtime import Section
    from ddnn.serving.server import serve_app
    from ddnn.settings import Settings
    from ddnn_cloud.app import create_app

    app, run = create_app(Settings(port=port, max_in_flight=in_flight, max_section_batch=8)), Section.run

    def slow(self: Section, **inputs: Array) -> dict[str, Array]:
        time.sleep(SECTION_S * len(next(iter(inputs.values()))))
        return run(self, **inputs)

    Section.run = slow  # type: ignore[method-assign]
    serve_app(app, app.state.service.settings)


def target(port: int, deadline_s: float) -> Refusing:
    """One event a request, as an edge sends it; an answer is right in form, and not degraded."""
    golden = Bundle.open(shipped_bundle()).golden
    inputs = {"features": golden["edge_features"][:1, 0], "present": np.ones((1, 6), np.bool_)}
    body, headers = encode_request(inputs, parameters={"edge": 0}, binary_output=False)

    def read(_: int, content: bytes) -> Outcome:
        (answer,) = outputs_to_answers(decode_response(content).outputs, rows=1)
        return Outcome(not answer.degraded and answer.label >= 0, errors=("degraded",) if answer.degraded else ())

    headers = {"x-ddnn-deadline-ms": f"{1000 * deadline_s:.0f}", **headers}
    return Refusing(f"http://127.0.0.1:{port}{INFER_PATH}", [body], read, headers, deadline_s)


def run(bound: str, seconds: float) -> dict[str, Any]:
    """The peak, then multiples of it."""
    port, (in_flight, deadline_s) = free_port(), BOUNDS[bound]
    call = f"from ddnn_lab.benchmarks.saturation import serve; serve({port}, {in_flight})"
    with listening("-c", call, port=port) as pid:
        limits: dict[str, Any] = {"seconds": seconds, "warm_up_s": WARM_UP_S, "deadline_s": deadline_s}

        def load(arrivals: Closed | Poisson) -> dict[str, Any]:
            asked = target(port, deadline_s)
            measured = measure(asked, arrivals, processes=Processes({"tier": pid}), **limits)
            refusal_ms = percentiles([took for code, took in asked.refused if code == "429"])
            refused = Counter(code for code, _ in asked.refused)
            return {**measured.document(), "refused": refused, "refusal_ms": refusal_ms}

        peak = load(Closed(24))
        points = [{"times": times, **load(Poisson(times * peak["goodput_per_s"]))} for times in TIMES]
    implied_ms = 1000 * min(in_flight * SECTION_S, deadline_s)  # all in flight, each its turn, or the deadline
    bounds = {"bound": bound, "in_flight": in_flight, "deadline_s": deadline_s, "implied_ms": implied_ms}
    promises = judged(peak, points[-1], implied_ms)
    return {**bounds, "peak": peak, "points": points, "promises": promises}


def judged(peak: Mapping[str, Any], worst: Mapping[str, Any], implied_ms: float) -> dict[str, bool]:
    """What was promised of three times the peak, and whether it held."""
    refusal, accepted = worst["refusal_ms"], worst["latency_ms"] or {"p99": math.inf}
    return {
        "goodput at least 90 % of the peak": worst["goodput_per_s"] >= 0.9 * peak["goodput_per_s"],
        "p99 of the accepted at most twice what the bound implies": accepted["p99"] <= 2 * implied_ms,
        "half of the refusals within 10 ms": bool(refusal) and refusal["p50"] <= 10,
        "memory flat (at most 5 % more)": worst["memory_bytes"]["tier"] <= 1.05 * peak["memory_bytes"]["tier"],
    }


def draw(results: Sequence[Mapping[str, Any]]) -> Figure:
    """Goodput and p99 over what is offered."""
    figure, (goodput, accepted) = panels(2, height=3.4, columns=2)
    for place, result in enumerate(results):
        points, peak, colour = result["points"], result["peak"]["goodput_per_s"], f"C{place}"
        times = [point["times"] for point in points]
        tails = [(point["latency_ms"] or {"p99": math.nan})["p99"] for point in points]
        goodput.plot(times, [point["goodput_per_s"] / peak for point in points], "o-", color=colour)
        accepted.plot(times, tails, "o-", label=f"bounded by: {result['bound']}", color=colour)
        accepted.axhline(2 * result["implied_ms"], linestyle=":", linewidth=1, color=colour)
    goodput.axhline(0.9, color="grey", linestyle=":", linewidth=1)
    goodput.set_ylim(0, 1.2)
    accepted.set_ylim(bottom=0)
    name(goodput, "Goodput / peak", "offered / peak", "")
    name(accepted, "p99 of the accepted (dotted: twice the bound)", "offered / peak", "ms")
    accepted.legend(fontsize=8)
    return figure


def main(out: Out = RESULTS, seconds: float = 8.0) -> None:
    """Measure and write `saturation.{json,md,png}`."""
    results = [run(bound, seconds) for bound in BOUNDS]
    write(out, "saturation", {"bounds": results, "section_ms": 1000 * SECTION_S}, draw(results))


if __name__ == "__main__":
    command(__doc__, main)
