"""One event on its way through a tier, and what a child sends for it."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np

from ddnn.policy import Judging, Policy
from ddnn.types import Answer, Array, Bools, Exit

__all__ = ["AUDIT_S", "Case", "Contribution", "Stage", "Terms", "no_answer", "reserve", "show_stages"]

AUDIT_S: Final = 2.0
"""How long an audit may take, in seconds, at each tier; nobody waits for it."""

_NO_SCORES: Final = np.zeros(0, np.float32)


class Stage(NamedTuple):
    """Where time went."""

    name: str
    """`queue`, an exit's name (its section), `uplink`, …"""
    seconds: float
    began: float
    """By `time.perf_counter`."""


@dataclass(slots=True)
class Terms:
    """What one request asks besides its tensors."""

    deadline: float
    """Loop time, in seconds, by which the answer must be out."""
    max_exit: Exit = Exit.CLOUD
    """Answer no higher than this exit."""
    threshold: float | None = None
    """Instead of the policy's threshold at every exit that has one above 0."""
    wait_ms: float | None = None
    """Instead of the policy's wait: wait this long for every child, alive or not."""
    audit: bool = False
    """This is no question but an audit: its answer is compared with one already given, and counted nowhere."""
    travels: Callable[[], dict[str, str]] = dict
    """Headers that travel on, trace and request id: made when something goes up, as most requests need none."""
    stages: list[Stage] = field(default_factory=list)
    """Where the time of its events went."""
    upper_timings: list[str] = field(default_factory=list)
    """`Server-Timing` of the tiers above, as they came."""

    @property
    def headers(self) -> dict[str, str]:
        """Headers that travel on."""
        return self.travels()

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one child of this tier sends for one event; a child has one place in this tier's fusion, or several."""

    child: int
    """Its number among the children."""
    terms: Terms
    inputs: dict[str, Array]
    """`scores`, packed `features` or `view`, a row each of its places."""
    present: Bools
    """A flag each of its places."""
    devices: Bools
    """[D], who took part."""
    answered: Exit | None = None
    """The exit at which the child was sure: its caller has that answer, and `scores` are what it was made of."""
    policy_version: int | None = None
    """The child's policy where it was sure, if it said so."""
    second: bool = False
    """Features that were asked for; the child has contributed before."""


@dataclass(eq=False, slots=True)
class Case:
    """One event at one tier, from the moment its inputs are there until it is answered."""

    event: bytes | None
    """Event id, or None for an event of its own."""
    policy: Policy
    """Snapshot taken when the event arrived."""
    terms: Terms
    inputs: dict[str, Array]
    """`view` (…), packed `features` (bytes,); over n places (n, …), `scores` (n, K) and `present` (n,) too."""
    devices: Bools
    """[D], who takes part."""
    best: Answer
    """What the highest exit so far would answer; to begin with, that there is no answer."""
    outcome: asyncio.Future[Answer]
    scores: Array = field(default_factory=lambda: _NO_SCORES)
    """(K,), what `best` was made of."""
    judged: dict[Exit, Array] = field(default_factory=dict)
    """(K,), what each exit that ran here said."""
    answered: list[Contribution] = field(default_factory=list)
    """Of children that were sure."""
    deadline: float = 0.0
    """Loop time by which the last of its callers must have the answer; the first request's to begin with."""
    bytes_up: int = 0
    """Payload bytes this tier has sent up for the event."""
    stages: list[Stage] = field(default_factory=list)
    """Where its time went; events that went through a stage together share the entry."""
    complete: float = 0.0
    """When all that it was collected from was there, by `time.perf_counter`; 0 before that."""
    upper_timings: list[str] = field(default_factory=list)
    """`Server-Timing` of the tiers above, as it came; the events of one post share the entry."""

    def __post_init__(self) -> None:
        self.deadline = self.deadline or self.terms.deadline

    @property
    def reached(self) -> int:
        """Rank of the highest exit so far; -1 before the first."""
        return self.best.exit.rank if self.best.label >= 0 else -1

    def left(self) -> float:
        """Seconds until the deadline of the most patient caller."""
        return self.deadline - asyncio.get_running_loop().time()

    def temperature(self, exit: Exit) -> float:
        """What `exit` divides this event's scores by."""
        return self._judging(exit).temperatures.of(exit)

    def threshold(self, exit: Exit) -> float:
        """The threshold of `exit` for this event."""
        asked, own = self.terms.threshold, self._judging(exit).thresholds.of(exit)
        return own if asked is None or own == 0 or exit is Exit.CLOUD else asked

    def _judging(self, exit: Exit) -> Judging | Policy:
        """What `exit` judges this event by: the policy itself, but where that depends on how many take part."""
        policy = self.policy
        return policy.judging(exit, int(self.devices.sum())) if policy.live else policy

    def audit(self, event: bytes | None = None) -> "Case":
        """The same event once more, on its way to the cloud however sure an exit is; by default without an id."""
        loop = asyncio.get_running_loop()
        terms = Terms(loop.time() + AUDIT_S, threshold=0.0, travels=self.terms.travels, audit=True)
        return Case(
            event,
            self.policy,
            terms,
            dict(self.inputs),
            self.devices,
            self.best,
            loop.create_future(),
            self.scores,
            self.judged,
        )

    def settle(self, answer: Answer) -> None:
        """Give the event its answer, once."""
        if not self.outcome.done():
            sent = self.bytes_up
            self.outcome.set_result(replace(answer, bytes_up=answer.bytes_up + sent) if sent else answer)

    def degrade(self, reason: str) -> None:
        """Answer with the best exit reached, and say why it is not a better one."""
        self.settle(replace(self.best, degraded=True, degraded_reason=reason))


def no_answer(classes: int, devices: int, version: int, *, need_features: bool, reason: str = "") -> Answer:
    """A row that is not an answer: the edge wants features, or (`need_features` false) there is none, for `reason`."""
    return Answer(
        label=-1,
        probabilities=np.zeros(classes, np.float32),
        exit=Exit.LOCAL,  # a row has one; without a label it means nothing
        confidence=0.0,
        devices=np.zeros(devices, np.bool_),
        policy_version=version,
        degraded_reason=reason,
        need_features=need_features,
    )


def show_stages(terms: Terms, cases: Iterable[Case], since: float = 0.0) -> None:
    """Put what the request's events went through `since` it came on its account, each shared entry once."""
    cases = list(cases)
    terms.stages += {id(stage): stage for case in cases for stage in case.stages if stage.began >= since}.values()
    terms.upper_timings += {id(text): text for case in cases for text in case.upper_timings}.values()


def reserve(left: float) -> float:
    """Seconds of `left` that a tier keeps for itself when it hands a deadline up: a tenth, 5 to 50 ms."""
    return min(max(left / 10, 0.005), 0.05)
