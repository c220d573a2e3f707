"""How many edges and cloud cores so many devices need: bounded by how busy a core may be, and by a wait."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, Final

import numpy as np

from ddnn.errors import Infeasible
from ddnn.links import LinkShape
from ddnn.types import Exit
from ddnn_lab.planning.costs import WAYS, Costs
from ddnn_lab.planning.outages import FAILS, Outage, spares
from ddnn_lab.planning.queues import Seconds, poisson, sojourns
from ddnn_lab.planning.site import Found, Simulation
from ddnn_lab.planning.ways import Ways

__all__ = ["Wanted", "beside", "cores_by_hour", "sized"]

_CLOUD_EVENTS: Final = 100_000  #: that pass the cloud's queue in each try
_ALONE: Final = 20
_QUIET: Final = 1e-3  #: events a second, so that none meets another
_PERCENTILES: Final = (50, 95, 99)
Progress = Callable[[str], object]


@dataclass(frozen=True)
class Wanted:
    """What is asked for."""

    devices: int
    rate: float  #: events a second of each site, in the mean
    peak: float = 1.0  #: the busiest hour has so many times the mean
    near: LinkShape = field(default_factory=LinkShape)  #: of each device to its edge
    far: LinkShape = field(default_factory=LinkShape)  #: of each edge to the cloud
    p95_s: float = 1.0
    busy: float = 0.7  #: share of a core that may be in use
    events: int = 6000  #: simulated in each try
    fails: Mapping[str, Outage] = field(default_factory=dict)  #: what fails, of `outages.FAILS`


def beside(costs: Costs, ways: Ways, seed: int = 0, pace: float = 1.0) -> dict[Exit, Seconds]:
    """By exit, what an event that is alone waits beside all that is simulated: kernels, wakings, the loop's turns.

    It is what was measured on one machine, less what the simulation of that machine says.
    """
    found = {}
    for exit, way in costs.ways.items():
        all_there = Ways(np.full(len(ways.exits), exit.rank), np.ones_like(ways.present), 1.0)
        alone = Simulation(costs, all_there, _QUIET, shared_cores=costs.cores, pace=pace, seed=seed).run(_ALONE)
        found[exit] = np.maximum(0.0, np.asarray(way.alone_s) - float(np.mean(alone.seconds)))
    return found


def sized(
    costs: Costs, ways: Ways, wanted: Wanted, *, seed: int = 0, progress: Progress = lambda what: None
) -> dict[str, Any]:
    """The fewest cores with which the plan holds in the busiest hour, and what is then to be expected.

    Raise `Infeasible` where no number of them would do, with what stands in the way. A machine of one core with as many
    sites as it bears stands for all of them, which are alike and independent; the cloud's queue sees the sum of all
    sites, a Poisson process. So a million devices take no longer than a thousand.
    """
    began = monotonic()
    rate = wanted.rate * wanted.peak
    sites = math.ceil(wanted.devices / ways.present.shape[1])
    cpu = {
        tier: sum(ways.share(exit) * getattr(costs.ways[exit].cpu, tier) for exit in WAYS)
        for tier in ("device", "edge")
    }
    _refuse_busy(costs, ways, wanted, rate, cpu)
    extra = beside(costs, ways, seed)
    pool, waits = _cloud(costs, ways, wanted, sites * rate, seed)
    most = min(sites, max(1, int(wanted.busy / (rate * cpu["edge"]))))
    low, high, best = 1, most, None
    while True:
        progress(f"{high:,} sites on a core")
        found = _site(costs, ways, wanted, rate, high, extra, waits, seed)
        if found[1][1] <= wanted.p95_s:
            best, low = (high, *found), high
        elif high == 1:
            raise Infeasible(
                f"p95 is {1000 * found[1][1]:,.0f} ms where nothing else is under way on an edge's core; expected at"
                f" most {1000 * wanted.p95_s:,.0f} ms: faster links, another policy or a larger --p95 is needed"
            )
        if best and (best[0] == most or high - low <= max(1, most // 50)):
            break
        most = most if best and best[0] == high else high
        high = max(1, (low + most) // 2) if best is None or best[0] != high else (high + most) // 2
    per_core, one, (p50, p95, p99) = best
    edge_cores = math.ceil(sites / per_core)
    near, far = (np.array(sums) * sites * rate * 8 for sums in (one.device_bytes, one.cloud_bytes))
    return {
        "devices": wanted.devices,
        "sites": sites,
        "rate": wanted.rate,
        "peak": wanted.peak,
        "links": {"device-edge": str(wanted.near), "edge-cloud": str(wanted.far)},
        "asked": {"p95_ms": 1000 * wanted.p95_s, "busy": wanted.busy},
        "exits": {exit.value: ways.share(exit) for exit in WAYS},
        "accuracy": ways.accuracy,
        "edges": {
            "services": sites,
            "cores": edge_cores,
            "sites_per_core": per_core,
            "busy": rate * cpu["edge"] * sites / edge_cores,
            "memory_bytes": sites * costs.memory["edge"],
        },
        "degraded": _degraded(ways, wanted.fails, pool),
        "cloud": {
            "cores": pool,
            "busy": sites * rate * ways.share(Exit.CLOUD) * costs.ways[Exit.CLOUD].cpu.cloud / pool,
            "events_per_s": sites * rate * ways.share(Exit.CLOUD),
            "memory_bytes": pool * costs.memory["cloud"],
        },
        "device_busy": rate * cpu["device"],
        "bits_per_s": {"device-edge": near.tolist(), "edge-cloud": far.tolist()},
        "latency_ms": {"p50": 1000 * p50, "p95": 1000 * p95, "p99": 1000 * p99},
        "simulated": {"events": len(one.seconds), "seconds": monotonic() - began},
    }


def _degraded(ways: Ways, fails: Mapping[str, Outage], cores: int) -> dict[str, float]:
    """Share of the events answered below as each kind is away: events that come by themselves see time's mean."""
    away = {name: outage.share for name, outage in fails.items()}
    edge, link, cloud = (away.get(name, 0.0) for name in FAILS)
    up = ways.share(Exit.CLOUD) * (1 - edge)
    return {"edge": edge, "edge-cloud": up * link, "cloud": up * (1 - link) * cloud**cores}


def cores_by_hour(document: dict[str, Any]) -> list[dict[str, float]]:
    """Edge and cloud cores of each hour of a day whose load swings as a sine, the busiest hour as planned."""
    peak, rows = document["peak"], []
    for hour in range(24):
        times = max(0.0, 1 + (peak - 1) * math.cos(2 * math.pi * (hour - 14) / 24)) / peak
        rows.append(
            {
                "hour": hour,
                "load": times,
                "edge_cores": max(1, math.ceil(times * document["edges"]["cores"])),
                "cloud_cores": max(1, math.ceil(times * document["cloud"]["cores"])),
            }
        )
    return rows


def _refuse_busy(costs: Costs, ways: Ways, wanted: Wanted, rate: float, cpu: dict[str, float]) -> None:
    """Raise `Infeasible` where one device, one edge or one link has more to do than it can."""
    for what, share in (("a device", rate * cpu["device"]), ("the edge of one site", rate * cpu["edge"])):
        if share > wanted.busy:
            raise Infeasible(
                f"{what} would use {share:.2f} cores at {rate:g} events a second; expected at most {wanted.busy:g}:"
                " one process is one core, so a lower rate, or a quicker section, is needed"
            )
    sent = {name: _mean(costs, ways, name) for name in ("device_up", "device_down", "edge_up", "edge_down")}
    near, far = max(sent["device_up"], sent["device_down"]), max(sent["edge_up"], sent["edge_down"])
    for name, shape, size in (("a device", wanted.near, near), ("an edge", wanted.far, far)):
        share = rate * float(shape.seconds(size))
        if share > wanted.busy:
            raise Infeasible(
                f"the link of {name}, {shape}, would be in use for {100 * share:.0f} % of the time, with"
                f" {size:,.0f} bytes an event; expected at most {100 * wanted.busy:.0f} %: streams, a faster link"
                " or a policy that sends less is needed"
            )


def _mean(costs: Costs, ways: Ways, name: str) -> float:
    """Bytes of an event, the mean over ways."""
    return sum(ways.share(exit) * float(getattr(costs.ways[exit], name)) for exit in WAYS)


def _cloud(costs: Costs, ways: Ways, wanted: Wanted, rate: float, seed: int) -> tuple[int, Seconds]:
    """Cores of the cloud, and what events wait and are worked on there, a sample."""
    takes, share = costs.ways[Exit.CLOUD].cpu.cloud, ways.share(Exit.CLOUD)
    if not share * rate or not takes:
        return 1, np.zeros(1)
    chance = np.random.default_rng(seed + 1)
    cores = max(1, math.ceil(rate * share * takes / wanted.busy))
    cores += spares(cores, wanted.fails.get("cloud"))
    arrivals = poisson(rate * share, _CLOUD_EVENTS, chance)
    spent = sojourns(arrivals, np.full(_CLOUD_EVENTS, takes), cores, wanted.fails.get("cloud"), seed)[
        _CLOUD_EVENTS // 10 :
    ]
    done = spent[np.isfinite(spent)]
    return cores, done if len(done) else np.zeros(1)


def _site(
    costs: Costs,
    ways: Ways,
    wanted: Wanted,
    rate: float,
    sites: int,
    extra: dict[Exit, Seconds],
    waits: Seconds,
    seed: int,
) -> tuple[Found, tuple[float, ...]]:
    simulation = Simulation(costs, ways, rate, sites, wanted.near, wanted.far, extra_s=extra, seed=seed)
    found = simulation.run(wanted.events)
    up = found.exits == Exit.CLOUD.rank
    seconds = found.seconds.copy()
    seconds[up] += np.random.default_rng(seed + 2).choice(waits, int(up.sum()))
    found = replace(found, seconds=seconds)
    return found, tuple(np.percentile(seconds, _PERCENTILES, method="higher").tolist())
