"""Sites as a simulation: devices, edges, links and the events that pass them, each part with its queue.

A process works on one thing at a time, in turn. Where machines are shared, as in a fleet on one machine, processes also
wait for a core. An event takes the way that the real policy has decided for it; what each visit takes was measured.
"""

import heapq
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import simpy

from ddnn.links import LinkShape
from ddnn.types import Bools, Exit, Ints
from ddnn_lab.planning.costs import Costs
from ddnn_lab.planning.outages import Outage, UpAndAway
from ddnn_lab.planning.queues import Seconds
from ddnn_lab.planning.ways import Ways

__all__ = ["Found", "Simulation"]

_FIRST: Final = 0.6  #: of a device's work on an event that is answered locally comes before its scores go up
_WARM: Final = 0.1  #: of the events come before the first that counts

Steps = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class Found:
    """What became of the events that count."""

    seconds: Seconds  #: (N,), from the views to the last caller's answer, without the cloud's part of those it answers
    exits: Ints  #: (N,), ranks
    edge_busy: float  #: share of a core of each edge machine
    device_bytes: tuple[float, float]  #: up and down of an event, between all its devices and the edge
    cloud_bytes: tuple[float, float]  #: the same between the edge and the cloud
    ended_s: float  #: simulated time
    degraded: Bools  #: (N,), answered below as the edge, or the way to the cloud, was away


class _Line:
    """Takes what comes in turn, one after the other or so many at a time: by the moments at which it is free again."""

    def __init__(self, servers: int = 1) -> None:
        self._free = [0.0] * servers

    def take(self, now: float, seconds: float) -> float:
        """How long until work that comes now, and takes so long, is done."""
        end = max(now, self._free[0]) + seconds
        heapq.heapreplace(self._free, end)
        return end - now


@dataclass
class _Site:
    devices: list[_Line | simpy.Resource]
    edge: _Line | simpy.Resource
    up: list[_Line]
    down: list[_Line]


@dataclass
class Simulation:
    """`sites` whose edges share machines, or, with `shared_cores`, one fleet on one machine, load generator and all."""

    costs: Costs
    ways: Ways
    rate: float  #: events a second of each site
    sites: int = 1
    near: LinkShape = field(default_factory=LinkShape)  #: of each device
    far: LinkShape = field(default_factory=LinkShape)  #: of each edge
    edge_cores: int = 1  #: of the machine that the edges share
    shared_cores: int | None = None
    pace: float = 1.0  #: on such a machine, how much longer than its CPU a work takes, as others use the cores too
    extra_s: dict[Exit, Seconds] | None = None  #: by exit, what an event waits beside all that is simulated
    fails: Mapping[str, Outage] = field(default_factory=dict)  #: of each machine of edges, of each edge's way up
    seed: int = 0

    def run(self, events: int) -> Found:
        """Simulate so many events that come by themselves, a Poisson process at each site."""
        self._env = env = simpy.Environment()
        self._chance = chance = np.random.default_rng(self.seed)
        self._cores = simpy.Resource(env, self.shared_cores) if self.shared_cores else None
        self._edge_machine = self._process() if self._cores else _Line(self.edge_cores)
        self._client, self._cloud = self._process(), self._process()
        self._uplinks: dict[int, tuple[_Line, _Line]] = {}
        self._sites: dict[int, _Site] = {}
        self._edge_worked = 0.0
        self._things: dict[tuple[str, int], UpAndAway] = {}
        self._degraded = np.zeros(events, np.bool_)
        self._seconds = np.full(events, np.nan)
        rows = chance.integers(0, len(self.ways.exits), events)
        places = chance.integers(0, self.sites, events)
        times = np.cumsum(chance.exponential(1 / (self.rate * self.sites), events))
        env.process(self._arrivals(times.tolist(), rows.tolist(), places.tolist()))
        env.run()
        counted = slice(int(_WARM * events), None)
        exits = self.ways.exits[rows]
        return Found(
            self._seconds[counted],
            exits[counted],
            self._edge_worked / env.now / self.edge_cores,
            *self._bytes(rows[counted]),
            env.now,
            self._degraded[counted],
        )

    def _bytes(self, rows: Any) -> tuple[tuple[float, float], tuple[float, float]]:
        exits, there = self.ways.exits[rows], self.ways.present[rows].sum(axis=1)
        sums = np.zeros(4)
        for exit, way in self.costs.ways.items():
            mine = exits == exit.rank
            near = there[mine].sum()
            sums += (near * way.device_up, near * way.device_down, mine.sum() * way.edge_up, mine.sum() * way.edge_down)
        up, down, far_up, far_down = (sums / len(rows)).tolist()
        return (up, down), (far_up, far_down)

    def _arrivals(self, times: Sequence[float], rows: Sequence[int], places: Sequence[int]) -> Steps:
        env = self._env
        for number, (at, row, place) in enumerate(zip(times, rows, places, strict=True)):
            if at > env.now:
                yield env.timeout(at - env.now)
            env.process(self._event(number, row, self._site(place), place))

    def _process(self) -> _Line | simpy.Resource:
        """One that has a core for itself, or waits for one of the machine's."""
        return simpy.Resource(self._env, 1) if self._cores else _Line()

    def _site(self, place: int) -> _Site:
        """Made when it is first needed: of many sites few have an event at a time."""
        if place not in self._sites:
            count = self.ways.present.shape[1]
            devices = [self._process() for _ in range(count)]
            lines = [[_Line() for _ in range(count)] for _ in range(2)]
            self._sites[place] = _Site(devices, self._edge_machine, *lines)
        return self._sites[place]

    def _work(self, process: _Line | simpy.Resource, seconds: float) -> Steps:
        if isinstance(process, _Line):
            yield self._env.timeout(process.take(self._env.now, seconds))
            return
        assert self._cores
        with process.request() as turn:
            yield turn
            with self._cores.request() as core:
                yield core
                yield self._env.timeout(seconds * self.pace)

    def _edge(self, site: _Site, seconds: float) -> Steps:
        self._edge_worked += seconds
        return self._work(site.edge, seconds)

    def _pass(self, line: _Line, shape: LinkShape, size: float) -> Steps:
        """A message over one direction of a link: one after the other at its rate, then half a round trip."""
        takes = float(shape.seconds(size))
        if takes or shape.round_trip_s:
            yield self._env.timeout(line.take(self._env.now, takes) + shape.round_trip_s / 2)

    def _event(self, number: int, row: int, site: _Site, place: int) -> Steps:
        env, began, costs = self._env, self._env.now, self.costs.ways
        exit = _EXITS[int(self.ways.exits[row])]
        devices = np.flatnonzero(self.ways.present[row]).tolist()
        local, way = costs[Exit.LOCAL], costs[exit]
        if self._away("edge", 0):  # its devices hear at once that nobody is there, and answer by themselves
            yield env.all_of([env.process(self._work(site.devices[d], local.cpu.device)) for d in devices])
            self._degraded[number], self._seconds[number] = True, env.now - began
            return
        if local.cpu.client:
            yield from self._work(self._client, local.cpu.client)
        yield env.all_of(
            [env.process(self._up(site, d, local.cpu.device * _FIRST, local, len(devices))) for d in devices]
        )
        if exit is not Exit.LOCAL:
            second, more = costs[Exit.EDGE], costs[Exit.EDGE].cpu.device - local.cpu.device
            yield env.all_of(
                [env.process(self._again(site, d, max(0.0, more), second, local, len(devices))) for d in devices]
            )
            if exit is Exit.CLOUD and self._away("edge-cloud", place):
                self._degraded[number], way = True, second
            elif exit is Exit.CLOUD:
                yield from self._to_cloud(site, place, way.cpu.edge - second.cpu.edge)
        down = way.device_down - (costs[Exit.EDGE].device_down - local.device_down if exit is not Exit.LOCAL else 0)
        yield env.all_of([env.process(self._answer(site, d, local.cpu.device * (1 - _FIRST), down)) for d in devices])
        extra = self.extra_s.get(exit) if self.extra_s else None
        beside = float(self._chance.choice(extra)) if extra is not None and len(extra) else 0.0
        self._seconds[number] = env.now - began + beside

    def _away(self, what: str, place: int) -> bool:
        """Whether one of those is away now; an event that is under way as it fails ends as if it had not."""
        if what not in self.fails:
            return False
        if (thing := self._things.get((what, place))) is None:
            chance = np.random.default_rng((self.seed, len(what), place))
            thing = self._things[what, place] = UpAndAway(self.fails[what], chance)
        return thing.back_in(self._env.now) > 0

    def _up(self, site: _Site, device: int, seconds: float, local: Any, count: int) -> Steps:
        yield from self._work(site.devices[device], seconds)
        yield from self._pass(site.up[device], self.near, local.device_up)
        yield from self._edge(site, local.cpu.edge / count)

    def _again(self, site: _Site, device: int, seconds: float, second: Any, local: Any, count: int) -> Steps:
        """The edge asks for features, and the device sends them."""
        yield from self._pass(site.down[device], self.near, second.device_down - local.device_down)
        yield from self._work(site.devices[device], seconds)
        yield from self._pass(site.up[device], self.near, second.device_up - local.device_up)
        yield from self._edge(site, max(0.0, second.cpu.edge - local.cpu.edge) / count)

    def _to_cloud(self, site: _Site, place: int, seconds: float) -> Steps:
        """There and back; what the cloud itself takes is another queue's, except on a shared machine."""
        way = self.costs.ways[Exit.CLOUD]
        up, down = self._uplinks.setdefault(place, (_Line(), _Line()))
        yield from self._edge(site, max(0.0, seconds) / 2)
        yield from self._pass(up, self.far, way.edge_up)
        if self._cores is not None:
            yield from self._work(self._cloud, way.cpu.cloud)
        yield from self._pass(down, self.far, way.edge_down)
        yield from self._edge(site, max(0.0, seconds) / 2)

    def _answer(self, site: _Site, device: int, seconds: float, size: float) -> Steps:
        yield from self._pass(site.down[device], self.near, size)
        yield from self._work(site.devices[device], seconds)


_EXITS: Final = {exit.rank: exit for exit in Exit}
