"""What is measured, system by system: flat out, at several rates, and over a thin link to the cloud."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any, Final

import numpy as np

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.evaluation import record
from ddnn.fleet.processes import LinkProcess
from ddnn.links import LinkShape
from ddnn.types import Tier
from ddnn_lab.links import passed
from ddnn_lab.load import Arrivals, Closed, FleetTarget, Measured, Poisson, Processes, Target, measure
from ddnn_lab.peers.peer import (
    PEERS,
    Cores,
    Peer,
    PlacedFleet,
    environment,
    processes,
    serving,
    target,
    threshold_of,
    unsure_below,
    versions,
)

__all__ = ["DEVICE_EDGE", "EDGE_CLOUD", "Plan", "fleet", "peers"]

EDGE_CLOUD: Final = LinkShape(0.040, 10e6)
"""The way to the cloud: of the fleet's edge, and of the gateway of a cloud-only system."""
DEVICE_EDGE: Final = LinkShape(0.002, 100e6)  #: from each device to the edge; cloud-only systems are spared it
SHARES: Final = (0.015, 0.1, 0.3, 1.0)  #: shares of events that go up to the cloud, beside the policy's own
LINKED_RATE: Final = 10.0  #: events a second over thin links: what every system here does with ease
_PORT: Final = 18700


@dataclass(frozen=True)
class Plan:
    """How long, and how much."""

    saturated_s: float = 3.0
    fleet_s: float = 20.0  #: the fleet flat out: its cloud has so little to do that it takes time to see
    share_s: float = 4.0
    linked_s: float = 12.0
    rate_s: float = 2.5
    clients: tuple[int, ...] = (4, 32)  #: at once, flat out: few keep a batch small, many fill it
    peer_rates: tuple[float, ...] = (50, 400)
    fleet_rates: tuple[float, ...] = (10, 25, 50)

    def shorter(self) -> "Plan":
        """A quarter of the time, for a look."""
        return Plan(1.0, 5.0, 2.0, 6.0, 1.0, (16,), (50, 400), (25, 50))


def peers(
    plan: Plan, cores: Cores, cache: Path, model: Path, data: Dataset, say: Callable[[str], object]
) -> list[dict[str, Any]]:
    """Every peer in every setting."""
    found = []
    for place, peer in enumerate(PEERS):
        venv, port = environment(peer, cache, say), _PORT + place
        say(peer.name)
        with serving(peer, venv, model, cores, port, venv / "server.log") as pid:
            found.append({**_told(peer), **_peer(plan, peer, f"http://127.0.0.1:{port}", pid, data)})
    return found


def _told(peer: Peer) -> dict[str, Any]:
    return {"system": peer.system, "setting": peer.setting, "name": peer.name, "versions": versions(peer)}


def _peer(plan: Plan, peer: Peer, url: str, pid: int, data: Dataset) -> dict[str, Any]:
    order, cloud = _order(data), Processes({"cloud": pid})

    def load(arrivals: Arrivals, seconds: float, at: str = url, used: Processes = cloud) -> Measured:
        return _load(target(peer, at, data, order), arrivals, seconds, used)

    # Overload comes last: what was left unanswered may be worked off long after.
    with LinkProcess(url.removeprefix("http://"), EDGE_CLOUD) as link:
        both = Processes(cloud.ids, {"gateway": lambda: passed(link)})
        linked = load(Poisson(LINKED_RATE), plan.linked_s, link.url, both).document()
    saturated = [load(Closed(clients), plan.saturated_s / len(plan.clients)).document() for clients in plan.clients]
    rates = [load(Poisson(rate), plan.rate_s).document() for rate in plan.peer_rates]
    return {"linked": linked, "saturated": saturated, "rates": rates}


def fleet(plan: Plan, cores: Cores, bundle: Bundle, data: Dataset, say: Callable[[str], object]) -> dict[str, Any]:
    """Our fleet: under its own policy, with larger shares sent up, and over thin links."""
    unsure = unsure_below(record(bundle, data), bundle.policy)
    with PlacedFleet(bundle.path, cores, base_port=0) as running:
        say("our fleet")
        running.wait_until_ready(seconds=120)
        plain = _plain(plan, running, data, unsure, say)
    shapes = {Tier.EDGE: EDGE_CLOUD, Tier.DEVICE: DEVICE_EDGE}
    with PlacedFleet(bundle.path, cores, base_port=0, shapes=shapes) as running:
        say("our fleet over thin links")
        running.wait_until_ready(seconds=120)
        return {**plain, **_linked(plan, running, data)}


def _plain(
    plan: Plan, running: PlacedFleet, data: Dataset, unsure: Any, say: Callable[[str], object]
) -> dict[str, Any]:
    used = processes(running)

    def load(arrivals: Arrivals, seconds: float, **parameters: float) -> dict[str, Any]:
        target = FleetTarget(running.device_urls, data.views, data.y, parameters=parameters)
        return _load(target, arrivals, seconds, used).document()

    saturated = [load(Closed(clients), plan.fleet_s / len(plan.clients)) for clients in plan.clients]
    rates = [load(Poisson(rate), plan.rate_s) for rate in plan.fleet_rates]
    shares = []
    for share in SHARES:
        say(f"our fleet, about {share:.1%} of events to the cloud")
        threshold = threshold_of(share, unsure)
        found = load(Closed(plan.clients[-1]), plan.share_s, threshold=threshold)
        shares.append({"wanted": share, "threshold": threshold, **found})
    return {"saturated": saturated, "rates": rates, "shares": shares, "idle": _idle(running.pid("cloud"))}


def _linked(plan: Plan, running: PlacedFleet, data: Dataset) -> dict[str, Any]:
    edge = running.links["edge"]
    used = Processes(processes(running).ids, {"edge": lambda: passed(edge)})

    def load(**parameters: float) -> dict[str, Any]:
        target = FleetTarget(running.device_urls, data.views, data.y, parameters=parameters)
        return _load(target, Poisson(LINKED_RATE), plan.linked_s, used).document()

    return {"linked": load(), "offloaded": load(threshold=0.0)}


def _idle(pid: int, seconds: float = 5.0) -> dict[str, float]:
    """What the cloud uses while nothing comes."""
    cloud = Processes({"cloud": pid})
    before = cloud.read().cpu_s["cloud"]
    sleep(seconds)
    return {"seconds": seconds, "cpu_s": cloud.read().cpu_s["cloud"] - before}


def _load(target: Target, arrivals: Arrivals, seconds: float, used: Processes) -> Measured:
    return measure(target, arrivals, seconds=seconds, warm_up_s=0.5, processes=used)


def _order(data: Dataset) -> list[int]:
    """As `FleetTarget` has it: every system sees the same events in the same order."""
    order: list[int] = np.random.default_rng(0).permutation(len(data)).tolist()
    return order
