"""What an event costs a fleet: started on this machine, asked way by way, alone and with company."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.errors import DDNNError
from ddnn.fleet.events import golden_events
from ddnn.fleet.processes import LocalFleet
from ddnn.links import LinkShape
from ddnn.types import Exit, Tier
from ddnn_lab.links import passed_for_events
from ddnn_lab.load import Closed, FleetTarget, Outcome, Processes, measure
from ddnn_lab.load.drive import CLIENT
from ddnn_lab.planning.costs import WAYS, Costs, Cpu, Way

__all__ = ["Timed", "measured"]

_TERMS: Final[dict[Exit, dict[str, Any]]] = {
    Exit.LOCAL: {"max_exit": "local", "threshold": 1.0},
    Exit.EDGE: {"max_exit": "edge", "threshold": 0.0},
    Exit.CLOUD: {"threshold": 0.0},
}
"""How events are asked, so that this exit answers them."""
_COMPANY: Final = 4  #: events under way while CPU is measured: a process that is asked seldom pays more for each
_WARM_UP_S: Final = 1.0
_KEPT: Final = 400  #: waits of events that are alone
_NICENESS: Final = 5
_WAIT_MS: Final = 5_000.0
_COUNTED_S: Final = 2.0
Say = Callable[[str], object]


@dataclass
class Timed(FleetTarget):
    """A target that also keeps how long each event took."""

    seconds: list[float] = field(default_factory=list)

    async def __call__(self, number: int) -> Outcome:
        """Ask, and note how long it took."""
        start = time.perf_counter()
        outcome = await super().__call__(number)
        if outcome.ok and not outcome.degraded:
            self.seconds.append(time.perf_counter() - start)
        return outcome


def measured(bundle: Bundle, seconds: float = 5.0, *, stream: bool = True, say: Say = lambda what: None) -> Costs:
    """Start a fleet of `bundle` twice, with and without links that count, and ask it each way; a minute or so.

    Raise `DDNNError` where a way gets no answers.
    """
    events = golden_events(bundle)
    transport = {"DDNN_UPLINK__TRANSPORT": "stream" if stream else "http", "DDNN_MAX_LAG_MS": "0"}
    cpu, alone, memory = dict[Exit, Cpu](), dict[Exit, list[float]](), dict[str, float]()
    with _fleet(bundle, transport) as (fleet, processes):
        for exit in WAYS:
            say(f"events that the {exit} exit answers")
            target = _target(fleet, events, exit)
            used = measure(target, Closed(_COMPANY), seconds=seconds, warm_up_s=_WARM_UP_S, processes=processes)
            if not used.answered or used.share(exit) < 0.5:
                raise DDNNError(
                    f"a fleet of {bundle.manifest.name} gave no answers of its {exit} exit; is it too slow?"
                )
            each = {tier: _sum(used.cpu_s, tier) / used.answered for tier in ("device", "edge", "cloud", CLIENT)}
            each["device"] /= len(bundle.topology.devices)
            cpu[exit] = Cpu(**each)
            memory = {
                tier: max(size for name, size in used.memory_bytes.items() if name.startswith(tier))
                for tier in ("device", "edge", "cloud")
            }
            target = _target(fleet, events, exit)
            measure(target, Closed(1), seconds=seconds, warm_up_s=_WARM_UP_S)
            alone[exit] = sorted(target.seconds[len(target.seconds) // 5 :][-_KEPT:])
    ways = {}
    with _fleet(bundle, transport, {Tier.DEVICE: LinkShape(), Tier.EDGE: LinkShape()}) as (fleet, _):
        for exit in WAYS:
            say(f"bytes of events that the {exit} exit answers")
            ways[exit] = Way(cpu=cpu[exit], alone_s=tuple(alone[exit]), **_bytes(bundle, fleet, events, exit))
    return Costs(
        bundle=bundle.fingerprint,
        name=bundle.manifest.name,
        devices=len(bundle.topology.devices),
        transport="stream" if stream else "http",
        cores=len(os.sched_getaffinity(0)),
        memory=memory,  # type: ignore[arg-type]
        ways=ways,
    )


@contextmanager
def _fleet(
    bundle: Bundle, env: dict[str, str], shapes: dict[Tier, LinkShape] | None = None
) -> Iterator[tuple[LocalFleet, Processes]]:
    with LocalFleet(bundle.path, base_port=0, env=env, shapes=shapes, niceness=_NICENESS) as fleet:
        fleet.wait_until_ready()
        yield fleet, Processes({name: fleet.pid(name) for name in fleet.members})


def _target(fleet: LocalFleet, events: Dataset, exit: Exit) -> Timed:
    terms: dict[str, Any] = {"wait_ms": _WAIT_MS, **_TERMS[exit]}
    return Timed(fleet.device_urls, events.views, y=events.y, present=events.present, deadline_s=10.0, parameters=terms)


def _sum(used: Any, tier: str) -> float:
    return float(sum(seconds for name, seconds in used.items() if name.startswith(tier)))


def _bytes(bundle: Bundle, fleet: LocalFleet, events: Dataset, exit: Exit) -> dict[str, float]:
    """Of an event between each device and the edge, and between the edge and the cloud."""
    below, above = _linked(fleet, Tier.DEVICE), _linked(fleet, Tier.EDGE)
    links = Processes(
        {}, {"device": lambda: passed_for_events(fleet, *below), "edge": lambda: passed_for_events(fleet, *above)}
    )
    used = measure(_target(fleet, events, exit), Closed(1), seconds=_COUNTED_S, warm_up_s=_WARM_UP_S, processes=links)
    each = {"device": len(bundle.topology.devices) * max(1, used.answered), "edge": max(1, used.answered)}
    found: dict[str, float] = {}
    for name, count in each.items():
        up, down = used.passed[name]
        found |= {f"{name}_up": up / count, f"{name}_down": down / count}
    return found


def _linked(fleet: LocalFleet, tier: Tier) -> list[str]:
    """Tiers of a kind that have a link above them."""
    return [name for name in fleet.links if fleet.members[name].tier is tier]
