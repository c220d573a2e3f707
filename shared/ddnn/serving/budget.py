"""The escalation budget: how much may go up to the cloud, kept where events go up and, for each edge, at the cloud.

Each account is a token bucket for events, bytes and cloud seconds each. What is let through last may overdraw it, as
bytes and seconds are known when they are spent: in t seconds an account spends its rate times t, its burst, and what is
under way.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ddnn.codec import payload_of
from ddnn.policy import Allowance, Budget
from ddnn.serving.control import PolicyControl
from ddnn.serving.event import Charge, Event
from ddnn.serving.metrics import Metrics
from ddnn.topology import Topology
from ddnn.types import Tier

__all__ = ["SITE", "Account", "Accounts", "Escalation", "cloud_seconds"]

_log = logging.getLogger("ddnn")

SITE: Final = "site"
_ALARM_S: Final = 60.0  #: how long an alarm stays after the last event that was answered below
_SLACK: Final = 2.0  #: times the burst at the cloud, where what an edge let through in time comes closer together
_CLOUD_SECTION: Final = re.compile(r"(?:^|[ ,])cloud-cloud;dur=([0-9.]+)")

Payers = Callable[[Event], Sequence[int]]


def cloud_seconds(server_timing: str | None) -> float | None:
    """Seconds that the cloud's section has worked, by the `Server-Timing` of its answer; None where it does not say."""
    found = _CLOUD_SECTION.search(server_timing or "")
    try:
        return float(found[1]) / 1000 if found else None
    except ValueError:
        return None


class Account:
    """What one device, or the site, has left."""

    def __init__(self, allowance: Allowance, *, share: float, burst_s: float, now: float) -> None:
        """It has a `share` of the allowance, and at most `burst_s` seconds of it at once."""
        self._rates = {kind: share * value / 60 for kind, value in allowance.limits.items()}
        self._burst_s, self._filled = burst_s, now
        self._left = {kind: rate * burst_s for kind, rate in self._rates.items()}

    def left(self, now: float) -> Mapping[str, float]:
        """What is left of each kind that has a limit; negative where it is overdrawn."""
        passed, self._filled = max(0.0, now - self._filled), max(now, self._filled)
        for kind, rate in self._rates.items():
            self._left[kind] = min(self._left[kind] + passed * rate, rate * self._burst_s)
        return self._left

    def solvent(self, now: float) -> bool:
        """Whether there is something left of each kind."""
        return all(left > 0 for left in self.left(now).values())

    def charge(self, events: float, size: float, seconds: float) -> None:
        """Spend, or with negative numbers give back."""
        for kind, spent in (("events", events), ("bytes", size), ("cloud_seconds", seconds)):
            if kind in self._left:
                self._left[kind] -= spent

    def shares(self, now: float) -> dict[str, float]:
        """What is left of each kind, as a share of the burst, 0 to 1."""
        most = {kind: rate * self._burst_s for kind, rate in self._rates.items()}
        return {kind: max(0.0, left / most[kind]) if most[kind] else 0.0 for kind, left in self.left(now).items()}


@dataclass(slots=True)
class _Beyond:
    """The events of one account that were answered below."""

    events: int = 0
    since: float = 0.0  #: Unix time of the first of those that raise the alarm
    last: float = -_ALARM_S  #: when the last one was, by the clock


def account_names(tier: Tier, topology: Topology, index: int) -> tuple[str, ...]:
    """The accounts that tier number `index` keeps; a device keeps none."""
    if tier is Tier.CLOUD:
        return tuple(f"edge-{edge}" for edge in range(len(topology.edges)))
    return (SITE, *(f"device-{device}" for device in topology.edges[index].devices)) if tier is Tier.EDGE else ()


class Accounts:
    """The accounts of one tier, by name, under the policy in force; those of another budget begin full."""

    def __init__(
        self,
        control: PolicyControl,
        metrics: Metrics,
        names: Sequence[str],
        *,
        edges: int = 1,
        times: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The site's allowance is shared by so many edges; each account has `times` the budget's burst."""
        self.names, self._control, self._metrics = tuple(names), control, metrics
        self._edges, self._times, self._clock = edges, times, clock
        self._budget = Budget()
        self._accounts: dict[str, Account] = {}
        self._beyond: dict[str, _Beyond] = {}
        metrics.budget.of(self)

    @classmethod
    def of(cls, tier: Tier, topology: Topology, index: int, control: PolicyControl, metrics: Metrics) -> "Accounts":
        """Those that an edge, or the cloud, keeps."""
        names, edges = account_names(tier, topology, index), len(topology.edges)
        return cls(control, metrics, names, edges=edges, times=_SLACK if tier is Tier.CLOUD else 1.0)

    def now(self) -> float:
        return self._clock()

    def current(self) -> Mapping[str, Account]:
        """Accounts that have a limit; none without a budget."""
        budget = self._control.policy.budget
        if budget is not self._budget:
            if budget != self._budget:
                self._accounts = {name: account for name in self.names if (account := self._opened(name, budget))}
            self._budget = budget
        return self._accounts

    def _opened(self, name: str, budget: Budget) -> Account | None:
        """A full account; None where it would have no limits."""
        of_device = name.startswith("device-")
        allowance, share = (budget.device, 1.0) if of_device else (budget.site, 1 / self._edges)
        if not allowance.limits:
            return None
        return Account(allowance, share=share, burst_s=self._times * budget.burst_s, now=self._clock())

    def exceeded(self, names: Iterable[str], events: int = 1) -> None:
        """Count events that are answered below for want of what these accounts have not left."""
        for name in names:
            beyond = self._beyond.setdefault(name, _Beyond())
            now = self._clock()
            if now - beyond.last >= _ALARM_S:
                beyond.since = time.time()
                _log.warning("alarm: the escalation budget of %s is spent; what is beyond it is answered below", name)
            beyond.events, beyond.last = beyond.events + events, now
            self._metrics.beyond_budget.labels(name).inc(events)

    def alarms(self) -> dict[str, float]:
        """Since when, in seconds since 1970, accounts have been exceeded; those of the last minute."""
        now = self._clock()
        return {name: beyond.since for name, beyond in self._beyond.items() if now - beyond.last < _ALARM_S}

    def shares(self) -> dict[str, dict[str, float]]:
        """What is left of each kind of each account, as a share of its burst."""
        now = self._clock()
        return {name: account.shares(now) for name, account in self.current().items()}

    def document(self) -> dict[str, Any] | None:
        """What is left, by account, and what was answered below; None without a budget, and where none was exceeded."""
        shares, alarms = self.shares(), self.alarms()
        names = [*shares, *(name for name in self._beyond if name not in shares)]
        return {
            name: {
                "left": {kind: round(left, 3) for kind, left in shares.get(name, {}).items()},
                "exceeded": self._beyond[name].events if name in self._beyond else 0,
                "alarm": {"since": alarms[name]} if name in alarms else None,
            }
            for name in names
        } or None


class Escalation:
    """Which events an edge may still send up: those that someone who pays can pay for, and the site."""

    def __init__(self, accounts: Accounts, payers: Payers, carries: Sequence[str]) -> None:
        """`payers`: the numbers of the children because of which an event goes up; `carries`: what goes up of it."""
        self._accounts, self._payers, self._carries = accounts, payers, carries
        self._names = accounts.names[1:]  # each child's, after the site's
        self._usual_s = 0.0  # that the cloud worked on an event, by its last answer

    def affords(self, event: Event) -> bool:
        """Whether an event could go up now; counted where it could not, and nothing is charged."""
        accounts = self._accounts.current()
        return not accounts or event.options.audit or self._solvent(event, accounts) is not None

    def admitted(self, events: list[Event]) -> list[Event]:
        """Those that may go up, which are charged; the others are degraded."""
        if not (accounts := self._accounts.current()):
            return events
        through = []
        for event in events:
            if event.options.audit:
                through.append(event)
            elif (payers := self._solvent(event, accounts)) is None:
                event.degrade("budget")
            else:
                rows = {name: event.inputs[name][np.newaxis] for name in self._carries if name in event.inputs}
                event.charge = Charge(payers, payload_of(rows), self._usual_s)
                self._put(event, 1, event.charge.size, event.charge.seconds)
                through.append(event)
        return through

    def spent(self, events: Sequence[Event], size: int, seconds: float) -> None:
        """Put what a request of these events has cost in place of what was expected."""
        each, seconds = size / len(events), seconds / len(events)
        for event in events:
            if event.charge:
                self._put(event, 0, each - event.charge.size, seconds - event.charge.seconds)
                event.charge = None
        self._usual_s = seconds

    def give_back(self, events: Sequence[Event]) -> None:
        """Nothing of these events has gone up after all."""
        for event in events:
            if event.charge:
                self._put(event, -1, -event.charge.size, -event.charge.seconds)
                event.charge = None

    def _solvent(self, event: Event, accounts: Mapping[str, Account]) -> tuple[str, ...] | None:
        """The accounts that pay for an event; None where those that should cannot, or the site cannot."""
        now = self._accounts.now()
        payers: tuple[str, ...] = ()
        if len(accounts) > (SITE in accounts):
            payers = tuple(self._names[child] for child in self._payers(event))
            solvent = tuple(name for name in payers if accounts[name].solvent(now))
            if payers and not solvent:
                self._accounts.exceeded(payers)
                return None
            payers = solvent
        if SITE in accounts and not accounts[SITE].solvent(now):
            self._accounts.exceeded([SITE])
            return None
        return payers

    def _put(self, event: Event, events: float, size: float, seconds: float) -> None:
        assert event.charge
        accounts, payers = self._accounts.current(), event.charge.payers
        for name, share in ((SITE, 1.0), *((payer, 1 / len(payers)) for payer in payers)):
            if account := accounts.get(name):
                account.charge(share * events, share * size, share * seconds)
