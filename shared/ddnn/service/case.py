"""One event on its way through a tier."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from ddnn.policy import Policy
from ddnn.tier import Exit
from ddnn.types import Answer, Array, Bools

__all__ = ["Case", "Terms", "no_answer", "reserve", "show_timings"]


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
    headers: dict[str, str] = field(default_factory=dict)
    """Headers that travel on: trace and request id."""
    timings: list[tuple[str, float]] = field(default_factory=list)
    """(stage, seconds) of the request itself."""
    sections: list[tuple[str, float]] = field(default_factory=list)
    """(exit, seconds) of the section runs its events were in."""
    upper_timings: list[str] = field(default_factory=list)
    """`Server-Timing` of the tiers above, as they came."""

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - asyncio.get_running_loop().time()


@dataclass(eq=False, slots=True)
class Case:
    """One event at one tier, from the moment its inputs are there until it is answered."""

    event: bytes | None
    """Event id, or None for an event of its own."""
    policy: Policy
    """Snapshot taken when the event arrived."""
    terms: Terms
    inputs: dict[str, Array]
    """One row each: `view` (…), or over n children `scores` (n, K), packed `features` (n, bytes), `present` (n,)."""
    devices: Bools
    """[D], who takes part."""
    outcome: asyncio.Future[Answer]
    deadline: float = 0.0
    """Loop time by which the last of its callers must have the answer; the first request's to begin with."""
    best: Answer | None = None
    """What the highest exit so far would answer."""
    bytes_up: int = 0
    """Payload bytes this tier has sent up for the event."""
    sections: list[tuple[str, float]] = field(default_factory=list)
    """(exit, seconds) of each section run it was in; the events of one run share the entry."""
    upper_timings: list[str] = field(default_factory=list)
    """`Server-Timing` of the tiers above, as it came; the events of one post share the entry."""

    def __post_init__(self) -> None:
        self.deadline = self.deadline or self.terms.deadline

    def left(self) -> float:
        """Seconds until the deadline of the most patient caller."""
        return self.deadline - asyncio.get_running_loop().time()

    def threshold(self, exit: Exit) -> float:
        """The threshold of `exit` for this event."""
        asked, own = self.terms.threshold, self.policy.thresholds.of(exit)
        return own if asked is None or own == 0 or exit is Exit.CLOUD else asked

    def settle(self, answer: Answer) -> None:
        """Give the event its answer, once."""
        if not self.outcome.done():
            self.outcome.set_result(replace(answer, bytes_up=answer.bytes_up + self.bytes_up))

    def degrade(self, reason: str) -> None:
        """Answer with the best exit reached, and say why it is not a better one."""
        if self.outcome.done():
            return
        if self.best is None:
            raise AssertionError("an event degrades only after its first exit")
        self.settle(replace(self.best, degraded=True, degraded_reason=reason))


def no_answer(classes: int, devices: int, version: int, *, need_features: bool, reason: str = "") -> Answer:
    """A row that is not an answer: the edge wants features, or (`need_features` false) has none, for `reason`."""
    return Answer(
        label=-1,
        probabilities=np.zeros(classes, np.float32),
        exit=Exit.LOCAL,
        confidence=0.0,
        devices=np.zeros(devices, np.bool_),
        policy_version=version,
        degraded_reason=reason,
        need_features=need_features,
    )


def show_timings(terms: Terms, cases: Iterable[Case]) -> None:
    """Put what the request's events went through into its `Server-Timing`, each shared entry once."""
    cases = list(cases)
    terms.sections += {id(run): run for case in cases for run in case.sections}.values()
    terms.upper_timings += {id(text): text for case in cases for text in case.upper_timings}.values()


def reserve(left: float) -> float:
    """Seconds of `left` that a tier keeps for itself when it hands a deadline up: a tenth, 5 to 50 ms."""
    return min(max(left / 10, 0.005), 0.05)
