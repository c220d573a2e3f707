"""Audits: some sure answers go up all the same, in the background, and what the cloud says is compared."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ddnn.drift import Alarm, Bucket, DriftMonitor, audited_exits, sampled
from ddnn.levels import picked
from ddnn.serving.control import PolicyControl
from ddnn.serving.event import Event, Holder
from ddnn.serving.ledger import scores_behind
from ddnn.serving.metrics import AuditResult, Metrics
from ddnn.serving.request import AUDIT_S
from ddnn.topology import Input, Topology
from ddnn.types import Answer, Array, Exit, Tier
from ddnn.wire import DATATYPES

__all__ = ["Audits"]

_log = logging.getLogger("ddnn")


@dataclass(slots=True)
class _Awaited:
    """The copy of an answered event whose features have been asked for."""

    copy: Event
    missing: set[int]  #: places whose features, or views, have not come
    inputs: dict[str, Array]  #: of each, (places, …), rows as they are sent, nothing in absent places
    timer: asyncio.TimerHandle


class Audits:
    """What one tier audits, by copies of events that the engine takes up, and what it learns of the policy."""

    def __init__(
        self, tier: Tier, topology: Topology, control: PolicyControl, metrics: Metrics, most: int, upward: bool
    ) -> None:
        """At most `most` are under way, and as many held until their features come; `upward`: there is a tier above."""
        all_exits = audited_exits(topology)
        mine = frozenset(exit for exit in all_exits if (exit is Exit.DEVICE) == (tier is Tier.DEVICE))
        self._exits, self._everywhere = mine if upward else frozenset[Exit](), all_exits
        self._control, self._metrics = control, metrics
        self._topology, self._most = topology, most
        self._levels = tuple(given.what for given in topology.sent(Tier.DEVICE, "asked"))
        self._awaited: dict[bytes, _Awaited] = {}
        self._under_way: dict[Event, Answer] = {}  # each audit, with the answer that was given
        self._monitored = control.policy
        self._begin()
        metrics.drift.monitor = lambda: self.monitor

    @property
    def monitor(self) -> DriftMonitor:
        self._follow()
        return self._monitor

    def _follow(self) -> None:
        before, self._monitored = self._monitored, self._control.policy
        if self._monitored != before:
            self._begin()

    def _begin(self) -> None:
        policy = self._monitored
        self._monitor = DriftMonitor(policy, exits=self._everywhere, clock=time.time)
        self._bucket = Bucket(policy.audits.per_second, policy.audits.burst, time.monotonic)

    def answered(self, event: Event, answer: Answer) -> None:
        """Note an answer that the policy in force, and nothing else, has decided."""
        if answer.label >= 0 and not answer.degraded and self._by_policy(event):
            if self._control.policy is not self._monitored:
                self._follow()
            self._monitor.answered(answer.exit, answer.confidence)

    def pick(self, sure: Sequence[Event], *, to: Holder) -> list[Event]:
        """Copies, held by `to`, of some events about to be answered; where features are missing, they are asked for."""
        ready: list[Event] = []
        if self._control.policy is not self._monitored:
            self._follow()
        for event in sure:
            if not event.rule.policy.audits.share or not self._picked(event):
                continue
            if not self._has_room(event) or not self._bucket.take():
                self._count(event.best.exit, "skipped")
            elif self._whole(event):
                ready.append(copy := event.audit(to=to))
                self._under_way[copy] = event.best
            else:
                self._await_features(event, to)
                event.best = replace(event.best, need_features=True)
        return ready

    def take(self, event: bytes | None, place: int, inputs: Mapping[str, Array]) -> Event | None:
        """Take what was asked for of an answered event; its copy, to go up, where this was the last."""
        awaited = self._awaited.get(event) if event is not None else None
        if awaited is None or event is None or place not in awaited.missing or not inputs.keys() >= {*self._levels}:
            return None
        awaited.missing.discard(place)
        for name, rows in awaited.inputs.items():
            rows[place] = inputs[name][0]
        if awaited.missing:
            return None
        awaited.timer.cancel()
        del self._awaited[event]
        if len(self._under_way) >= self._most:
            self._count(awaited.copy.best.exit, "skipped")
            return None
        copy = awaited.copy
        copy.inputs |= awaited.inputs
        if views := self._topology.views:
            here = copy.inputs["present"]
            copy.inputs["shown"] = picked(copy.inputs["scores"], here, views.most, views.pick)
        self._under_way[awaited.copy] = awaited.copy.best
        return awaited.copy

    def compare(self, copy: Event, cloud: Answer) -> Answer | None:
        """Hear what became of an audit; those of the tier below are its own to compare.

        Return the answer that was given where the cloud's is another class.
        """
        answer = self._under_way.pop(copy, None)
        if answer is None:
            return None
        if cloud.degraded or cloud.label < 0 or cloud.exit is not Exit.CLOUD:
            self._count(answer.exit, "failed")
            return None
        same = cloud.label == answer.label
        self._count(answer.exit, "same" if same else "different")
        copy.judged[Exit.CLOUD] = scores_behind(cloud, copy.rule.policy)  # the ledger of the event sees it too
        current = copy.rule.policy == self._control.policy
        if current and (alarm := self.monitor.audited(answer.exit, same, cloud.label)):
            _log.warning("alarm: %s", self._alarm(alarm))
        return None if same else answer

    def _alarm(self, alarm: Alarm) -> str:
        """What an alarm is about, for people."""
        document, version = self.monitor.document(), self._control.policy.version
        if alarm.label is None:
            known = document["exits"][alarm.exit.value]
            said = f"answers of the {alarm.exit} exit differ from the cloud's more often than the"
        else:
            known = document["classes"][str(alarm.label)]
            said = f"answers that the cloud calls class {alarm.label} are that class less often than the"
        return (
            f"{said} {100 * known['promised']:.2f} % that policy version {version} promised;"
            f" {known['different']} of {known['audited']} audits differed"
        )

    def document(self) -> dict[str, Any]:
        why_not = None if self._everywhere else "several edges or raw views: answers cannot be audited"
        return {"share": self._control.policy.audits.share, "off": why_not, **self.monitor.document()}

    def close(self) -> None:
        for awaited in self._awaited.values():
            awaited.timer.cancel()
        self._awaited.clear()

    def _count(self, exit: Exit, result: AuditResult) -> None:
        self._metrics.audits.labels(exit, result).inc()

    def _picked(self, event: Event) -> bool:
        share = event.rule.policy.audits.share
        if event.best.exit not in self._exits or not self._by_policy(event):
            return False
        return (self._whole(event) or event.id is not None) and sampled(event.id, share)

    def _whole(self, event: Event) -> bool:
        """Whether all is here that the tiers above may want."""
        return all(name in event.inputs for name in self._levels)

    def _by_policy(self, event: Event) -> bool:
        """Whether an event is decided as the policy in force promises: not by options of its own."""
        options, policy = event.options, self._control.policy
        own = event.swayed or options.audit or options.own_terms
        return not own and (event.rule is self._control.rule or event.rule.policy == policy)

    def _has_room(self, event: Event) -> bool:
        if self._whole(event):
            return len(self._under_way) < self._most
        return len(self._awaited) < self._most and event.id not in self._awaited

    def _await_features(self, event: Event, to: Holder) -> None:
        id, places = event.id, event.inputs["present"]
        assert id is not None  # `_picked` has seen to it
        timer = asyncio.get_running_loop().call_later(AUDIT_S, self._forget, id)
        inputs: dict[str, Array] = {
            given.what: self._nothing(given, len(places)) for given in self._topology.sent(Tier.DEVICE, "asked")
        }
        self._awaited[id] = _Awaited(event.audit(to=to), set(np.flatnonzero(places).tolist()), inputs, timer)

    def _nothing(self, given: Input, places: int) -> Array:
        """A row for each place, without anything in it."""
        features, codec = self._topology.features(given.child), self._topology.codec(given)
        whole = features.shape if features and given.what == "features" else self._topology.devices[0].view.shape
        rows = np.zeros((places, *codec.wire_shape(whole)), DATATYPES[codec.datatype])
        if codec.datatype == "BYTES":
            rows[:] = b""
        return rows

    def _forget(self, event: bytes) -> None:
        self._count(self._awaited.pop(event).copy.best.exit, "failed")
