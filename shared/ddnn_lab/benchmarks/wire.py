"""Bytes between tiers, by HTTP and over streams: of an event, beside its tensors, and of a fleet that does nothing.

`python -m ddnn_lab.benchmarks.wire --out DIR [--events 256] [--idle 300] [--seconds 10] [--rounds 3]`. A fleet of the
shipped bundle as processes on 127.0.0.1, with a proxy on each device's and the edge's way up that counts what passes,
without what TCP and IP add: first the golden events, one at a time, as the policy answers them, then all up to the
cloud, then nothing for `--idle` seconds. Then the same fleet without proxies under load, each transport by turns:
events a second, CPU of an event.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from ddnn.bundle import Bundle
from ddnn.client import EventAnswer, Fleet
from ddnn.fleet.processes import LocalFleet
from ddnn.links import LinkShape
from ddnn.types import Tier
from ddnn_lab.benchmarks import RESULTS, Out, Quick, command, write
from ddnn_lab.links import passed, passed_for_events
from ddnn_lab.load import Closed, FleetTarget, Processes, measure
from ddnn_lab.released import Code

__all__ = ["TRANSPORTS", "count", "draw_up", "load", "median_of"]

TRANSPORTS: Final = ("http", "stream")
WAYS: Final = {"policy": {}, "cloud": {"threshold": 0.0}}
"""How events are asked: as the policy says, and so that no exit but the cloud's is sure."""
UP: Final = 1.5  #: times the tensor bytes, at most
DOWN: Final = 1.0
IDLE: Final = 100_000  #: bytes a day, direction and device, at most
_WARM: Final = 8
_DAY_S: Final = 86_400
_CONCURRENT: Final = (4, 16)
_THIS: Final = Code()
_WAIT_MS: Final = 5_000.0  #: so that no device is late on a busy machine


@contextmanager
def _fleet(transport: str, *, counted: bool, code: Code, bundle: Path | None = None) -> Iterator[LocalFleet]:
    shapes = {Tier.DEVICE: LinkShape(), Tier.EDGE: LinkShape()} if counted else None
    with code.fleet({"DDNN_UPLINK__TRANSPORT": transport}, bundle, shapes=shapes) as fleet:
        fleet.wait_until_ready()
        time.sleep(3.0)  # what comes with the start is over
        yield fleet


def count(
    transport: str,
    *,
    events: int,
    idle_s: float,
    code: Code = _THIS,
    heard: Callable[[EventAnswer], object] = lambda answer: None,
    say: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Bytes up and down of an event, and its tensors', by how it is asked; bytes a day of each idle tier.

    Bytes of reports are not counted, but by HTTP their heads. `heard` hears of the answers to all golden events.
    """
    bundle, found = Bundle.open(code.bundle), dict[str, Any]()
    devices = len(bundle.topology.devices)
    golden = [bundle.golden[f"view_{device}"] for device in range(devices)]
    with _fleet(transport, counted=True, code=code) as fleet, Fleet(fleet.device_urls) as sensors:
        ids = [f"all-{number}" for number in range(len(golden[0]))]
        for answer in sensors.answer_events(golden, events=ids, deadline_ms=20_000, wait_ms=_WAIT_MS):
            heard(answer)
        for way, terms in WAYS.items():
            answers: list[EventAnswer] = []
            for number in range(-_WARM, events):
                if number == 0:
                    time.sleep(0.3)
                    answers = []  # what came before warms up
                    before = passed_for_events(fleet, *fleet.links)
                row = number * len(golden[0]) // events % len(golden[0])  # of all of them, evenly
                views, ids = [view[row : row + 1] for view in golden], [f"{way}-{number + 10_000}"]
                given = sensors.answer_events(views, events=ids, deadline_ms=20_000, wait_ms=_WAIT_MS, **terms)  # type: ignore[arg-type]
                answers += given
            time.sleep(0.3)
            now = passed_for_events(fleet, *fleet.links)
            up, down = (after - first for after, first in zip(now, before, strict=True))
            tensors = float(np.mean([answer.bytes_up for answer in answers]))
            found[way] = {
                "tensors": tensors,
                "up": up / events,
                "down": down / events,
                "up_of_tensors": up / events / tensors,
                "down_of_tensors": down / events / tensors,
                "degraded": sum(answer.degraded for answer in answers),
            }
            say(f"{transport}, {way}: {tensors:.0f} bytes of tensors, {up / events:.0f} up, {down / events:.0f} down")
        if idle_s:
            time.sleep(25.0)  # what is told of the last events is over: each tier below tells within ten seconds
            before_idle = {name: passed(link) for name, link in fleet.links.items()}
            time.sleep(idle_s)
            found["idle"] = {}
            for name, was in before_idle.items():
                now = passed(fleet.links[name])
                day = [round((after - first) * _DAY_S / idle_s) for after, first in zip(now, was, strict=True)]
                found["idle"][name] = dict(zip(("up", "down"), day, strict=True))
            most = max(max(each.values()) for each in found["idle"].values())
            say(f"{transport}, idle: at most {most} bytes a day and direction")
    return found


def load(
    transport: str, seconds: float, *, code: Code = _THIS, bundle: Path | None = None, warm_up_s: float = 1.0
) -> dict[str, Any]:
    """Events a second, p50, and CPU of an event by tier, at so many at once; of another `bundle` than the code's."""
    served, found = bundle or code.bundle, dict[str, Any]()
    opened = Bundle.open(served)
    views = tuple(opened.golden[f"view_{device}"] for device in range(len(opened.topology.devices)))
    with _fleet(transport, counted=False, code=code, bundle=served) as fleet:
        processes = Processes({name: fleet.pid(name) for name in fleet.members})
        for concurrent in _CONCURRENT:
            target = FleetTarget(fleet.device_urls, views, deadline_s=20.0)
            measured = measure(target, Closed(concurrent), seconds=seconds, warm_up_s=warm_up_s, processes=processes)
            cpu = {
                tier: 1000
                * sum(used for name, used in measured.cpu_s.items() if name.startswith(tier))
                / max(1, measured.answered)
                for tier in ("device", "edge", "cloud")
            }
            found[str(concurrent)] = {
                "per_second": measured.goodput,
                "p50_ms": (measured.latency_ms or {}).get("p50"),
                "cpu_ms": cpu,
                "degraded": measured.degraded,
                "client_busy": measured.client_busy,
            }
    return found


def median_of(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure, over the rounds."""
    first = rounds[0]
    return {
        key: median_of([each[key] for each in rounds])
        if isinstance(first[key], dict)
        else float(np.median([each[key] or 0 for each in rounds]))
        for key in first
    }


def draw_up(bytes_: dict[str, Any], loads: dict[str, Any]) -> dict[str, Any]:
    """The document: what was found, beside what was wanted."""
    stream = bytes_["stream"]
    ways = [stream[way] for way in WAYS]
    idle = max((max(each.values()) for each in stream.get("idle", {}).values()), default=None)
    wanted = {
        "up": {"most": max(way["up_of_tensors"] for way in ways), "wanted": UP},
        "down": {"most": max(way["down_of_tensors"] for way in ways), "wanted": DOWN},
        "idle": {"most": idle, "wanted": IDLE},
    }
    return {"bytes": bytes_, "load": loads, "wanted": wanted}


def main(
    out: Out = RESULTS,
    events: int = 256,
    idle: float = 300.0,
    seconds: float = 10.0,
    rounds: int = 3,
    quick: Quick = False,
) -> None:
    """Measure, print, and write `wire.json` and `wire.md`."""
    if quick:
        events, idle, seconds, rounds = 16, 0.0, 1.0, 1
    found = {transport: count(transport, events=events, idle_s=idle) for transport in TRANSPORTS}
    turns: dict[str, list[dict[str, Any]]] = {transport: [] for transport in TRANSPORTS}
    for turn in range(rounds):
        for transport in TRANSPORTS[:: 1 if turn % 2 == 0 else -1]:
            turns[transport].append(load(transport, seconds))
    loads = {transport: median_of(each) for transport, each in turns.items()}
    typed = f"python -m ddnn_lab.benchmarks.wire --events {events} --idle {idle:g} --seconds {seconds:g}"
    typed += f" --rounds {rounds}"
    document = {"command": typed, "cores_used": len(os.sched_getaffinity(0)), **draw_up(found, loads)}
    write(out, "wire", document)


if __name__ == "__main__":
    command(__doc__, main)
