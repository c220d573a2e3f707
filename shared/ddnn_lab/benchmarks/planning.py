"""Whether the simulation behind `ddnn plan` agrees with a real fleet, on one machine: waits over load, bytes.

`python -m ddnn_lab.benchmarks.planning --out DIR [--devices 64] [--seconds 8] [--rounds 2]`, five minutes with six
devices, the shipped digits, and as long a round with 64, of an untrained network of its own. What events cost is
measured way by way, with four under way and alone; then a fleet of the shipped digits gets events by its own policy at
shares of what it can do at most, and the simulation of the same machine says what it expects. What others use of the
cores is known by what 16 events at once get of them: works take longer by that. Medians over rounds. Agreement is asked
for within a tenth.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import typer
from matplotlib.figure import Figure

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.fleet.events import golden_events
from ddnn.fleet.processes import LocalFleet
from ddnn.links import LinkShape
from ddnn.plot_style import name, panels
from ddnn.types import Tier
from ddnn_lab.benchmarks import RESULTS, Out, command, environment, write
from ddnn_lab.benchmarks.scale import untrained_bundle
from ddnn_lab.faults.fleet import spread
from ddnn_lab.links import passed_for_events
from ddnn_lab.load import Closed, FleetTarget, Poisson, Processes, measure
from ddnn_lab.planning.costs import WAYS, Costs
from ddnn_lab.planning.measuring import measured
from ddnn_lab.planning.site import Simulation
from ddnn_lab.planning.sizing import beside
from ddnn_lab.planning.ways import Ways, ways_of
from ddnn_lab.released import UNSHED
from ddnn_lab.reporting import render

__all__ = ["capacity", "compared"]

SHARES: Final = (0.1, 0.3, 0.5)
WITHIN: Final = 0.1
GOLDEN: Final = 64
EXITS: Final = {"local": 0.7, "edge": 0.6}
"""Of another fleet's events, the share of which each is sure; the cloud has the rest."""
DEVICES: Final = 6  #: of the shipped digits
EVENTS: Final = 3000
_NICENESS: Final = 5
_FULL: Final = 16


def capacity(costs: Costs, ways: Ways, cores: float) -> float:
    """Events a second that so many cores can do at most, load generator and all."""
    each = 0.0
    for exit in WAYS:
        cpu = costs.ways[exit].cpu
        each += ways.share(exit) * (costs.devices * cpu.device + cpu.edge + cpu.cloud + cpu.client)
    return cores / each


def compared(real: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, float]:
    """What the simulation says over what was found, figure by figure."""
    return {key: said[key] / real[key] for key in real if real[key] and said.get(key)}


def _target(fleet: LocalFleet, bundle: Bundle) -> FleetTarget:
    events = golden_events(bundle)
    return FleetTarget(fleet.device_urls, events.views, y=events.y, present=events.present, deadline_s=10.0)


def run(bundle: Bundle, ways: Ways, seconds: float) -> dict[str, Any]:
    """Measure the costs, then the loads, then what passes the links."""
    costs, env = measured(bundle, seconds), UNSHED
    points: list[dict[str, Any]] = []
    with LocalFleet(bundle.path, base_port=0, env=env, niceness=_NICENESS) as fleet:
        fleet.wait_until_ready()
        processes = Processes({each: fleet.pid(each) for each in fleet.members})
        full = measure(_target(fleet, bundle), Closed(_FULL), seconds=seconds, warm_up_s=2.0, processes=processes)
        cores = min(float(costs.cores), sum(full.cpu_s.values()) / full.seconds)
        pace, most = costs.cores / cores, capacity(costs, ways, cores)
        extra = beside(costs, ways, pace=pace)
        for share in SHARES:
            rate = share * most
            found = measure(_target(fleet, bundle), Poisson(rate), seconds=seconds, warm_up_s=2.0, deadline_s=10.0)
            latency = found.latency_ms or {}
            real = {"p50_ms": latency.get("p50"), "p95_ms": latency.get("p95")}
            model = Simulation(costs, ways, rate, shared_cores=costs.cores, pace=pace, extra_s=extra).run(EVENTS)
            ordered = sorted((1000 * model.seconds).tolist())
            said = {"p50_ms": ordered[len(ordered) // 2], "p95_ms": ordered[int(0.95 * len(ordered))]}
            points.append({"share": share, "rate": rate, "real": real, "said": said, "ratios": compared(real, said)})
    shapes = {Tier.DEVICE: LinkShape(), Tier.EDGE: LinkShape()}
    with LocalFleet(bundle.path, base_port=0, env=env, shapes=shapes, niceness=_NICENESS) as fleet:
        fleet.wait_until_ready()
        near = [each for each in fleet.links if fleet.members[each].tier is Tier.DEVICE]
        counted = Processes({}, {"near": lambda: passed_for_events(fleet, *near)})
        used = measure(_target(fleet, bundle), Closed(2), seconds=seconds, processes=counted)
        up, down = used.passed["near"]
        real = {"up": up / used.answered, "down": down / used.answered}
    model = Simulation(costs, ways, 1.0).run(2000)
    said = dict(zip(("up", "down"), model.device_bytes, strict=True))
    return {
        "cores": cores,
        "capacity": most,
        "points": points,
        "bytes": {"real": real, "said": said, "ratios": compared(real, said)},
    }


def summed(rounds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each load, medians over rounds, and one of bytes."""
    rows = []
    for place, first in enumerate(rounds[0]["points"]):
        each = [found["points"][place] for found in rounds]
        row: dict[str, Any] = {"load": f"{100 * first['share']:.0f} % of {first['rate'] / first['share']:.0f}/s"}
        for key in ("p50_ms", "p95_ms"):
            row[key] = tuple(median(at[kind][key] or 0 for at in each) for kind in ("real", "said"))
            row[f"{key}_ratio"] = median(at["ratios"].get(key, 0.0) for at in each)
        rows.append(row)
    return rows


def judged(rows: Sequence[Mapping[str, Any]], sizes: Mapping[str, float]) -> dict[str, bool]:
    """Whether each kind of figure agrees at every load."""
    fits = {key: all(abs(row[f"{key}_ratio"] - 1) <= WITHIN for row in rows) for key in ("p50_ms", "p95_ms")}
    return {
        "p50 within 10 %": fits["p50_ms"],
        "p95 within 10 %": fits["p95_ms"],
        "bytes within 10 %": all(abs(ratio - 1) <= WITHIN for ratio in sizes.values()),
    }


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """p50 and p95 over load, real and simulated."""
    figure, both = panels(2, height=3.4, columns=2)
    for on, key in zip(both, ("p50_ms", "p95_ms"), strict=True):
        for place, kind in enumerate(("real", "simulated")):
            on.plot([100 * share for share in SHARES], [row[key][place] for row in rows], "o-", label=kind)
        name(on, key.removesuffix("_ms"), "% of what the cores can do", "ms")
        on.set_ylim(bottom=0)
    both[0].legend(fontsize=8)
    return figure


def main(
    out: Out = RESULTS,
    seconds: float = 8.0,
    rounds: Annotated[int, typer.Option(help="Fleets, each measured and loaded.")] = 2,
    devices: Annotated[int, typer.Option(min=2, help="Of the fleet.")] = DEVICES,
) -> None:
    """Measure and write `planning.{json,md,png}`, of another number of devices `planning-N`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        bundle = Bundle.open(shipped_bundle())
        if devices != DEVICES:
            made = Bundle.open(untrained_bundle(folder / "made", devices, golden=GOLDEN))
            bundle = spread(made, folder / "spread", **EXITS)
        found = _rounds(bundle, seconds, rounds)
    rows = summed(found)
    sizes = {key: median(each["bytes"]["ratios"][key] for each in found) for key in ("up", "down")}
    document = {
        "devices": devices,
        "rounds": found,
        "rows": rows,
        "bytes": sizes,
        "promises": judged(rows, sizes),
    }
    page = render("planning.md", **document, **environment())
    write(out, "planning" if devices == DEVICES else f"planning-{devices}", document, draw(rows), page=page)


def _rounds(bundle: Bundle, seconds: float, rounds: int) -> list[dict[str, Any]]:
    ways, found = ways_of(bundle), list[dict[str, Any]]()
    for _ in range(rounds):
        found.append(run(bundle, ways, seconds))
        told = "; ".join(f"{at['share']:g}: {at['real']} said {at['said']}" for at in found[-1]["points"])
        last = found[-1]
        can = f"{last['cores']:.2f} cores, at most {last['capacity']:.0f}/s"
        print(f"{can}; {told}; bytes {last['bytes']['ratios']}", flush=True)
    return found


if __name__ == "__main__":
    command(__doc__, main)
