"""Audits: some sure answers go up all the same, in the background, and what the cloud says is compared."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from ddnn.bundle import Topology
from ddnn.drift import Bucket, DriftMonitor, audited_exits, sampled
from ddnn.policy import Policy
from ddnn.serving.audit_metrics import AuditMetrics, Result
from ddnn.serving.case import AUDIT_S, Case
from ddnn.serving.ledger import scores_behind
from ddnn.serving.way_up import Up
from ddnn.types import Answer, Bits, Exit, Tier

__all__ = ["Audits"]

_log = logging.getLogger("ddnn")
_AT_ONCE: Final = 256
"""Audits in one request at most."""


@dataclass(slots=True)
class _Awaited:
    """An answered event whose features have been asked for."""

    copy: Case
    missing: set[int]
    """Places whose features have not come."""
    features: Bits
    """(places, bytes), 0 where nobody is."""
    timer: asyncio.TimerHandle


class Audits:
    """What one tier audits, and what it learns of the policy in force; another policy begins anew."""

    def __init__(
        self,
        tier: Tier,
        topology: Topology,
        *,
        policy: Callable[[], Policy],
        advance: Callable[[Sequence[Case]], Awaitable[None]],
        way_up: Up | None,
        metrics: AuditMetrics,
        waiting: int,
    ) -> None:
        """`advance` takes events as far as they go; at most `waiting` are held until their features come."""
        all_exits = audited_exits(topology)
        self._exits = frozenset(exit for exit in all_exits if (exit is Exit.DEVICE) == (tier is Tier.DEVICE))
        self._everywhere = all_exits
        self._policy, self._advance, self._way_up, self._metrics = policy, advance, way_up, metrics
        self._cut, self._room = topology.device_cut, waiting
        self._awaited: dict[bytes, _Awaited] = {}
        self._watched = policy()
        self._begin()
        metrics.follow(lambda: self.watch)

    @property
    def watch(self) -> DriftMonitor:
        """What is known of the policy in force."""
        self._follow()
        return self._watch

    def _follow(self) -> None:
        """Begin anew where another policy has come into force."""
        if (policy := self._policy()) is not self._watched:
            same, self._watched = policy == self._watched, policy
            if not same:
                self._begin()

    def _begin(self) -> None:
        policy = self._watched
        self._watch = DriftMonitor(policy, exits=self._everywhere, clock=time.time)
        self._bucket = Bucket(policy.audits.per_second, policy.audits.burst, time.monotonic)

    def answered(self, case: Case, answer: Answer) -> None:
        """Note an answer that the policy in force, and nothing else, has decided."""
        if answer.label >= 0 and not answer.degraded and self._by_policy(case):
            self.watch.answered(answer.exit, answer.confidence)

    def sure(self, cases: Sequence[Case]) -> None:
        """Audit some of these, which are about to be answered; where features are missing the answer asks for them."""
        self._follow()
        ready = []
        for case in cases:
            if not self._picked(case):
                continue
            exit = case.best.exit
            if not self._has_room(case) or not self._bucket.take():
                self._metrics.count(exit, "skipped")
            elif "features" in case.inputs:
                ready.append(case.audit())
            else:
                self._await_features(case)
                case.best = replace(case.best, need_features=True)
        for start in range(0, len(ready), _AT_ONCE):
            self._go(ready[start : start + _AT_ONCE])

    def take(self, event: bytes | None, place: int, features: Bits) -> None:
        """Features (bytes,) of an answered event, as they were asked for; nothing else is kept."""
        awaited = self._awaited.get(event) if event is not None else None
        if awaited is None or event is None or place not in awaited.missing:
            return
        awaited.missing.discard(place)
        awaited.features[place] = features
        if not awaited.missing:
            awaited.timer.cancel()
            del self._awaited[event]
            awaited.copy.inputs["features"] = awaited.features
            self._go([awaited.copy])

    def document(self) -> dict[str, Any]:
        """For `GET /v2/status`."""
        why_not = None if self._everywhere else "several edges or raw views: answers cannot be audited"
        return {"share": self._policy().audits.share, "off": why_not, **self.watch.document()}

    def close(self) -> None:
        """Wait for no features any more."""
        for awaited in self._awaited.values():
            awaited.timer.cancel()
        self._awaited.clear()

    def _picked(self, case: Case) -> bool:
        exit, share = case.best.exit, case.policy.audits.share
        if share == 0 or exit not in self._exits or self._way_up is None or not self._by_policy(case):
            return False
        return ("features" in case.inputs or case.event is not None) and sampled(case.event, share)

    def _by_policy(self, case: Case) -> bool:
        """Whether an event is decided as the policy in force promises: not on terms of its own."""
        terms, policy = case.terms, self._policy()
        own = terms.audit or terms.threshold is not None or terms.max_exit is not Exit.CLOUD
        return not own and (case.policy is policy or case.policy == policy)

    def _has_room(self, case: Case) -> bool:
        if "features" in case.inputs:
            return True
        return len(self._awaited) < self._room and case.event not in self._awaited

    def _await_features(self, case: Case) -> None:
        event, places, cut = case.event, case.inputs["present"], self._cut
        assert event is not None  # `_picked` has seen to it
        assert cut is not None
        timer = asyncio.get_running_loop().call_later(AUDIT_S, self._forget, event)
        features = np.zeros((len(places), cut.bytes), np.uint8)
        self._awaited[event] = _Awaited(case.audit(), set(np.flatnonzero(places).tolist()), features, timer)

    def _forget(self, event: bytes) -> None:
        self._metrics.count(self._awaited.pop(event).copy.best.exit, "failed")

    def _go(self, copies: Sequence[Case]) -> None:
        served = {id(copy): copy.best for copy in copies}
        if not self._way_up or not self._way_up.in_background(self._hear(copies, served)):
            for answer in served.values():
                self._metrics.count(answer.exit, "skipped")

    async def _hear(self, copies: Sequence[Case], served: Mapping[int, Answer]) -> None:
        try:
            await self._advance(copies)
        except Exception:  # nobody waits for an audit; it is not there
            _log.exception("%d audits failed", len(copies))
        for copy in copies:
            self._compare(copy, served[id(copy)])

    def _compare(self, copy: Case, answer: Answer) -> None:
        cloud = copy.outcome.result() if copy.outcome.done() else None
        if cloud is None or cloud.degraded or cloud.label < 0 or cloud.exit is not Exit.CLOUD:
            self._metrics.count(answer.exit, "failed")
            return
        same = cloud.label == answer.label
        result: Result = "same" if same else "different"
        self._metrics.count(answer.exit, result)
        copy.judged[Exit.CLOUD] = scores_behind(cloud, copy.policy)  # the ledger of the event sees it too
        if copy.policy == self._policy() and (alarm := self.watch.audited(answer.exit, same)):
            known = self.watch.document()["exits"][alarm.exit.value]
            _log.warning(
                "alarm: answers of the %s exit differ from the cloud's more often than the %.2f %% that policy"
                " version %d promised; %d of %d audits differed",
                alarm.exit,
                100 * known["promised"],
                self._policy().version,
                known["different"],
                known["audited"],
            )
