"""A picture of the fleet, made of what its tiers tell: who lives, what they do, and what became of the last events."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ddnn.bundle import Bundle
from ddnn.serving.room.report import EventTold, Report, key, telling
from ddnn.types import Exit, Tier

__all__ = ["Board", "Totals"]

_EVENTS: Final = 200  #: of the latest that are kept
_WINDOW_S: Final = 60.0  #: over which figures are
_EVERY_S: Final = 1.0  #: totals are kept so often
_DEVICE_EVENTS: Final = 64  #: whose views are kept


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of the whole fleet since it has been looked at."""

    at: float  #: monotonic seconds
    exits: Mapping[str, float]
    degraded: float
    up_devices: float  #: bytes
    up_edges: float
    cpu_s: float

    @property
    def events(self) -> float:
        return sum(self.exits.values())


@dataclass(slots=True)
class _Counted:
    """The counts of one tier, over its restarts."""

    last: dict[str, float] = field(default_factory=dict)
    base: dict[str, float] = field(default_factory=dict)
    uptime_s: float = 0.0


class Board:
    """Takes reports and states of tiers; gives one document for the page, and events as they come."""

    def __init__(
        self, bundle: Bundle, *, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self.topology, self._bundle = bundle.topology, bundle
        self._clock, self.wall, self._began = clock, wall, clock()
        self._source = telling(bundle.topology)
        self._reports: dict[str, tuple[float, Report]] = {}
        self._counted: dict[str, _Counted] = {}
        self.states: dict[str, str] = {}  #: by key: `alive`, `gone`, `unseen`, `paused`, `draining`
        self.events: deque[dict[str, Any]] = deque(maxlen=_EVENTS)
        self._views: dict[str, dict[int, str]] = {}  # by event, of devices
        self._numbers: dict[str, int] = {}  # of the last event of each tier that tells of events
        self._totals: deque[Totals] = deque(maxlen=int(_WINDOW_S / _EVERY_S) + 2)
        self.keys = [key(Tier.CLOUD, 0)]
        self.keys += [key(Tier.EDGE, index) for index in range(len(bundle.topology.edges))]
        self.keys += [key(Tier.DEVICE, index) for index in range(len(bundle.topology.devices))]

    def viewed(self, name: str) -> int:
        """The number of the last view that a device has told of."""
        told = self._reports.get(name)
        return told[1].viewed if told else 0

    def number_of(self, name: str) -> int:
        """The number of the last event that a tier has told."""
        return self._numbers.get(name, 0)

    def take(self, report: Report) -> list[dict[str, Any]]:
        """Put a report into the picture; the events in it that are new."""
        now, name = self._clock(), report.key
        if name not in self.keys:
            return []
        self._reports[name] = now, report
        self._count(report)
        for view in report.views:
            seen = self._views.setdefault(view.id, {})
            seen[report.index] = view.png
            if len(self._views) > _DEVICE_EVENTS:
                del self._views[next(iter(self._views))]
        return [self._noted(name, event) for event in report.events if self._is_new(name, event)]

    def _is_new(self, name: str, event: EventTold) -> bool:
        new = event.n > self._numbers.get(name, 0)
        if new:
            self._numbers[name] = event.n
        return new

    def _noted(self, name: str, event: EventTold) -> dict[str, Any]:
        names, label = self._bundle.manifest.classes, event.label
        row = event.model_dump(mode="json", exclude={"n", "ago_s"})
        row |= {"at": round(self.wall() - event.ago_s, 3), "class": names[label] if label < len(names) else str(label)}
        self.events.append(row)
        return row

    def _count(self, report: Report) -> None:
        counts: dict[str, float] = {f"exit {exit}": value for exit, value in report.exits.items()}
        counts |= {"degraded": report.degraded, "up": report.up, "cpu_s": report.cpu_s}
        counted = self._counted.get(report.key)
        if counted is None:
            # What a tier did before it was first heard of is no news of this minute, nor what its start has cost.
            early = report.uptime_s > self._clock() - self._began + _EVERY_S
            base = {what: -value for what, value in counts.items() if early or what == "cpu_s"}
            counted = self._counted[report.key] = _Counted(base=base)
        elif report.uptime_s < counted.uptime_s:  # another process, which counts from 0
            self._numbers.pop(report.key, None)
            for name, value in counted.last.items():
                counted.base[name] = counted.base.get(name, 0.0) + value
        counted.last, counted.uptime_s = counts, report.uptime_s

    def totals(self) -> Totals:
        """Counts of the whole fleet."""
        sums: dict[str, float] = {}
        for name, counted in self._counted.items():
            tier = name.partition("-")[0]
            for what, value in counted.last.items():
                whole = value + counted.base.get(what, 0.0)
                if what in ("up", "cpu_s"):
                    sums[f"{what} {tier}"] = sums.get(f"{what} {tier}", 0.0) + whole
                elif tier == self._source:
                    sums[what] = sums.get(what, 0.0) + whole
        exits = {exit.value: sums.get(f"exit {exit}", 0.0) for exit in self.topology.exits}
        cpu_s = sum(value for what, value in sums.items() if what.startswith("cpu_s"))
        devices, edges = sums.get("up device", 0.0), sums.get("up edge", 0.0)
        return Totals(self._clock(), exits, sums.get("degraded", 0.0), devices, edges, cpu_s)

    def tick(self) -> None:
        """Keep the totals of now, which later ones are compared with."""
        if not self._totals or self._clock() - self._totals[-1].at >= _EVERY_S:
            self._totals.append(self.totals())

    def figures(self) -> dict[str, Any]:
        """Of the last minute: rates, shares and costs of an event."""
        now = self.totals()
        before = next((old for old in self._totals if now.at - old.at <= _WINDOW_S), now)
        return {**between(before, now), **self._now()}

    def _now(self) -> dict[str, Any]:
        alive = [report for name, (_, report) in self._reports.items() if self.states.get(name) == "alive"]
        devices = [report for report in alive if report.tier is Tier.DEVICE]
        slowest = {
            name: max((getattr(r, name) for r in devices if getattr(r, name) is not None), default=None)
            for name in ("p50_ms", "p95_ms")
        }
        return slowest | {
            "in_flight": sum(report.in_flight for report in alive),
            "waiting": sum(report.waiting for report in alive),
            "recorded": sum(report.recorded or 0 for report in alive),
            "doubts": max((report.doubts for report in alive), default=0),  # several edges keep the same events
        }

    def audited(self) -> dict[str, Any] | None:
        """How often answers are the cloud's, by audits, over exits as often as they answer; None without audits."""
        told: dict[str, Any] = {}
        for _, report in self._reports.values():
            told |= {exit.value: seen.model_dump() for exit, seen in report.audits.items()}
        shares = self.totals().exits
        weights = {exit: shares.get(exit, 0.0) for exit in told}
        weight = sum(weights.values())
        if not told:
            return None
        cloud = shares.get(Exit.CLOUD.value, 0.0)
        whole = weight + cloud
        agree = {
            bound: (cloud + sum(weights[exit] * (1 - seen[of]) for exit, seen in told.items())) / whole
            if whole
            else None
            for bound, of in (("share", "share"), ("low", "high"), ("high", "low"))
        }
        return {"agreement": agree, "exits": told}

    def snapshot(self) -> dict[str, Any]:
        """All of it but the events, as the page takes it."""
        manifest, cloud = self._bundle.manifest, self._reports.get(key(Tier.CLOUD, 0))
        bundle = {"name": manifest.name, "fingerprint": manifest.fingerprint[:12]}
        if cloud and cloud[1].bundle:  # another one may have taken its place
            bundle = {"name": cloud[1].bundle, "fingerprint": cloud[1].fingerprint}
        budget = {f"{name} {w}": a.model_dump() for name, (_, r) in self._reports.items() for w, a in r.budget.items()}
        return {
            "at": round(self.wall(), 3),
            "bundle": bundle,
            "rollout": cloud[1].rollout if cloud else "",
            "tiers": [self._tier(name) for name in self.keys],
            "figures": self.figures(),
            "audits": self.audited(),
            "budget": budget,
        }

    def _tier(self, name: str) -> dict[str, Any]:
        kind, _, number = name.partition("-")
        above = None
        if kind == Tier.EDGE:
            above = key(Tier.CLOUD, 0)
        elif kind == Tier.DEVICE:
            above = key(Tier.EDGE, self.topology.edge_of(int(number)))
        row: dict[str, Any] = {"key": name, "tier": kind, "index": int(number), "above": above}
        row["state"] = self.states.get(name, "unseen")
        if kind == Tier.DEVICE and above in self._reports:
            late = self._reports[above][1].late.get(int(number))
            row["late"] = late.model_dump() if late else None
        told = self._reports.get(name)
        if told is None:
            return row
        left_out = {"tier", "index", "exits", "events", "views", "below", "audits", "budget", "trial", "late", "viewed"}
        return {
            **row,
            **told[1].model_dump(mode="json", exclude=left_out),
            "told_s_ago": round(self._clock() - told[0], 1),
        }

    def views(self) -> dict[str, dict[int, str]]:
        """Small pictures by event, of devices by number: PNG in base64."""
        return self._views


def between(before: Totals, now: Totals) -> dict[str, Any]:
    """What happened from one to another: events a second, the share of each exit, what an event cost."""
    seconds, events = now.at - before.at, now.events - before.events

    def each(change: float) -> float | None:
        return round(change / events, 4) if events > 0 else None

    return {
        "seconds": round(seconds, 1),
        "events": int(events),
        "rate": round(events / seconds, 3) if seconds > 0 else None,
        "exits": {exit: each(count - before.exits.get(exit, 0.0)) for exit, count in now.exits.items()},
        "degraded": each(now.degraded - before.degraded),
        "bytes_devices": each(now.up_devices - before.up_devices),
        "bytes_edges": each(now.up_edges - before.up_edges),
        "cpu_ms": each(1000 * (now.cpu_s - before.cpu_s)),
    }
