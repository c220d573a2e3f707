"""A whole fleet on one machine offered up to three times what it can do, with the rule that sheds events and without.

`python -m ddnn_lab.benchmarks.overload --out DIR [--rounds 3] [--seconds 8] [--stream]`, six minutes. Six devices, edge
and cloud of the shipped digits, real processes that share the cores with each other and with the load generator. A
closed loop of 16 finds the peak of each, then events come by themselves (Poisson) at multiples of it. Rounds alternate;
what is told are medians of ratios, each to the peak of its own fleet. Good is an answer in time that is not degraded.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Annotated, Any, Final

import typer
from matplotlib.figure import Figure

from ddnn.bundle import Bundle
from ddnn.fleet.events import golden_events
from ddnn.plot_style import name, panels
from ddnn_lab.benchmarks import RESULTS, Out, command, environment, write
from ddnn_lab.load import Closed, FleetTarget, Measured, Poisson, Processes, measure
from ddnn_lab.released import Code

__all__ = ["judged", "ratios"]

TIMES: Final = (1.0, 1.1, 2.0, 3.0)
CLIENTS: Final = 16
WARM_UP_S: Final = 2.0
DEADLINE_S: Final = 2.0
_THIS: Final = Code()
RULES: Final = {"without": "0", "with": "20"}
"""`DDNN_MAX_LAG_MS` of all tiers."""


def point(measured: Measured) -> dict[str, Any]:
    """What counts here of one load."""
    shares = 1 / max(1, measured.events)
    return {
        "offered_per_s": measured.offered,
        # Degraded answers count as if all of them were in time: never flattering.
        "good_per_s": max(0, measured.in_time - measured.degraded) / measured.seconds,
        "p50_ms": (measured.latency_ms or {}).get("p50"),
        "p95_ms": (measured.latency_ms or {}).get("p95"),
        "degraded": shares * measured.degraded,
        "unanswered": shares * (measured.events - measured.answered),
        "accuracy": measured.accuracy,
        "reasons": dict(measured.reasons),
        "errors": dict(measured.errors),
        "client_cores": measured.client_busy * measured.workers,
        "cores": {tier: _cores(measured, tier) for tier in ("device", "edge", "cloud")},
    }


def _cores(measured: Measured, tier: str) -> float:
    return sum(used for who, used in measured.cpu_s.items() if who.startswith(tier)) / measured.seconds


def run(rule: str, seconds: float, times: Sequence[float], stream: bool, code: Code = _THIS) -> dict[str, Any]:
    """The peak of one fleet, then multiples of it."""
    bundle = Bundle.open(code.bundle)
    events = golden_events(bundle)
    env = {"DDNN_MAX_LAG_MS": RULES[rule], "DDNN_UPLINK__TRANSPORT": "stream" if stream else "http"}
    with code.fleet(env, niceness=5) as fleet:
        fleet.wait_until_ready()
        processes = Processes({name: fleet.pid(name) for name in fleet.members})

        def load(arrivals: Closed | Poisson) -> dict[str, Any]:
            target = FleetTarget(
                fleet.device_urls, events.views, y=events.y, present=events.present, deadline_s=DEADLINE_S
            )
            limits: dict[str, Any] = {"seconds": seconds, "warm_up_s": WARM_UP_S, "deadline_s": DEADLINE_S}
            return point(measure(target, arrivals, processes=processes, **limits))

        peak = load(Closed(CLIENTS))
        points = [{"times": of, **load(Poisson(of * peak["good_per_s"]))} for of in times]
    return {"rule": rule, "peak": peak, "points": points}


def ratios(rounds: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Of each rule and load, the medians over rounds, each to the peak of its own fleet."""
    for rule in dict.fromkeys(each["rule"] for each in rounds):
        mine = [each for each in rounds if each["rule"] == rule]
        for place, first in enumerate(mine[0]["points"]):
            pairs = [(each["points"][place], each["peak"]) for each in mine]
            left = [(2 - at["client_cores"]) / (2 - peak["client_cores"]) for at, peak in pairs]
            goods = [at["good_per_s"] / peak["good_per_s"] for at, peak in pairs]
            told = {key: median(at[key] or 0 for at, _ in pairs) for key in ("p50_ms", "degraded", "unanswered")}
            yield {
                "rule": rule,
                "times": first["times"],
                "good": median(goods),
                "good_of_cpu_left": median(good / share for good, share in zip(goods, left, strict=True)),
                "p95": median((at["p95_ms"] or 0) / peak["p95_ms"] for at, peak in pairs),
                **told,
                "accuracy": median(at["accuracy"] or 0 for at, _ in pairs),
            }


def judged(rows: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """What was promised of the most that was offered, and whether it held."""
    worst = [row for row in rows if row["rule"] == "with"][-1]
    return {
        "goodput at least 95 % of the peak": worst["good"] >= 0.95,
        "p95 of what is answered at most twice that at the peak": 0 < worst["p95"] <= 2,
    }


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Goodput and p95 over what is offered."""
    figure, (goodput, late) = panels(2, height=3.4, columns=2)
    for place, rule in enumerate(RULES):
        mine = [row for row in rows if row["rule"] == rule]
        times = [row["times"] for row in mine]
        goodput.plot(times, [row["good"] for row in mine], "o-", color=f"C{place}", label=f"{rule} the rule")
        late.plot(times, [row["p95"] for row in mine], "o-", color=f"C{place}")
    goodput.axhline(0.95, color="grey", linestyle=":", linewidth=1)
    late.axhline(2, color="grey", linestyle=":", linewidth=1)
    goodput.set_ylim(0, 1.2)
    late.set_yscale("log")
    name(goodput, "Undegraded, in time / peak", "offered / peak", "")
    name(late, "p95 of what is answered / at the peak", "offered / peak", "")
    goodput.legend(fontsize=8)
    return figure


def main(
    out: Out = RESULTS,
    seconds: float = 8.0,
    rounds: Annotated[int, typer.Option(help="Fleets with the rule, and as many without.")] = 3,
    stream: Annotated[bool, typer.Option("--stream", help="Tiers ask each other over streams.")] = False,
) -> None:
    """Measure and write `overload.{json,md,png}`."""
    found = []
    for number in range(rounds):
        order = list(RULES) if number % 2 == 0 else [*reversed(RULES)]
        for rule in order:
            found.append(run(rule, seconds, TIMES, stream))
            last = found[-1]
            said = ", ".join(f"{at['times']:g}×: {at['good_per_s']:.0f}" for at in last["points"])
            print(f"{rule} the rule: peak {last['peak']['good_per_s']:.0f}/s; {said}", flush=True)
    rows = list(ratios(found))
    document = {"rounds": found, "rows": rows, "promises": judged(rows), "transport": "stream" if stream else "http"}
    write(out, "overload", document, draw(rows), clients=CLIENTS, **environment())


if __name__ == "__main__":
    command(__doc__, main)
