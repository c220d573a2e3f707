"""What each exit of one policy answers, how often that differs from the cloud, and whether the promise holds."""

import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any, Final

from ddnn.drift.evidence import Evidence
from ddnn.policy import Policy
from ddnn.types import Exit

__all__ = ["BINS", "Alarm", "DriftMonitor", "Interval", "distance", "wilson"]

BINS: Final = 10  #: of a histogram of confidence over [0, 1], all as wide
_AUDITS: Final = 500  #: latest audits of an exit that its estimate is made of
_ANSWERS: Final = 2_000  #: latest answers that exit shares and confidences are made of
_FEWEST: Final = 50  #: a histogram of fewer answers is far from every other by chance


def wilson(share: float, events: int, certainty: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share of `events` (Wilson 1927); all of [0, 1] where there are none."""
    if not events:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + certainty) / 2)
    middle = (share + z * z / (2 * events)) / (1 + z * z / events)
    half = z / (1 + z * z / events) * math.sqrt(share * (1 - share) / events + z * z / (4 * events * events))
    # At 0 and 1 an end is the share, but for rounding, which may leave it outside.
    return max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0)


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Total variation distance of two histograms: 0 alike, 1 apart."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 2


@dataclass(frozen=True, slots=True)
class Alarm:
    """The promise of an exit is no longer supported."""

    exit: Exit
    since: float  #: when that was found, on the monitor's clock
    audits: int  #: audits of the exit by then


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimated share with its 95 % interval (Wilson), as of now; only the alarm is valid at all times together."""

    share: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, events: int) -> "Interval":
        """The share of hits; of no events nothing is known."""
        share = hits / max(events, 1)
        return cls(share, *wilson(share, events))

    def document(self) -> dict[str, float]:
        """As data."""
        return asdict(self)


@dataclass(slots=True)
class _Audited:
    """The audits of one exit."""

    evidence: Evidence | None  #: none without a promise
    audits: int = 0
    different: int = 0
    latest: deque[bool] = field(default_factory=lambda: deque(maxlen=_AUDITS))
    alarm: Alarm | None = None


class DriftMonitor:
    """Of one policy at one tier; another policy needs another monitor, as it promises something else."""

    def __init__(self, policy: Policy, *, exits: Collection[Exit], clock: Callable[[], float]) -> None:
        """`exits` are audited in the whole fleet: all their tests together raise a false alarm as rarely as asked."""
        promise = policy.promise
        promised, self._usual = (promise.disagreement, promise.usual) if promise else ({}, {})
        self._promised, self._clock = promised, clock
        self.limit = max(len(promised.keys() & exits), 1) / policy.audits.false_alarm
        """An e-value as high as this raises the alarm (Bonferroni over the tests)."""
        self._audited: dict[Exit, _Audited] = {
            exit: _Audited(Evidence(promised[exit]) if exit in promised else None) for exit in Exit
        }
        self._answers: deque[tuple[Exit, int]] = deque()
        self._counts: Counter[tuple[Exit, int]] = Counter()

    def answered(self, exit: Exit, confidence: float) -> None:
        """An answer was given at `exit`."""
        answer = exit, min(int(confidence * BINS), BINS - 1)
        self._answers.append(answer)
        self._counts[answer] += 1
        if len(self._answers) > _ANSWERS:
            self._counts[self._answers.popleft()] -= 1

    def audited(self, exit: Exit, same: bool) -> Alarm | None:
        """An answer of `exit` was the cloud's, or not; the alarm, if this raises it."""
        audited = self._audited[exit]
        audited.audits += 1
        audited.different += not same
        audited.latest.append(not same)
        if audited.evidence is None:
            return None
        audited.evidence.add(not same)
        if audited.alarm or self.evidence(exit) < self.limit:
            return None
        audited.alarm = Alarm(exit, self._clock(), audited.audits)
        return audited.alarm

    @property
    def alarm(self) -> Alarm | None:
        """The first that was raised."""
        raised = [audited.alarm for audited in self._audited.values() if audited.alarm]
        return min(raised, key=lambda alarm: alarm.since, default=None)

    def alarm_of(self, exit: Exit) -> Alarm | None:
        """That of one exit."""
        return self._audited[exit].alarm

    def evidence(self, exit: Exit) -> float:
        """E-value against the promise of `exit`; 1 without a promise."""
        evidence = self._audited[exit].evidence
        return float(evidence.value) if evidence else 1.0

    def disagreement(self, exit: Exit) -> Interval:
        """Share of the answers of `exit` that are not the cloud's, by its latest audits."""
        latest = self._audited[exit].latest
        return Interval.of(sum(latest), len(latest))

    def share(self, exit: Exit) -> Interval:
        """Share of the latest answers that were given at `exit`."""
        return Interval.of(sum(self._bins(exit)), len(self._answers))

    def distance(self, exit: Exit) -> float | None:
        """How far the latest confidences are from those the policy was tuned on; None where those are not known.

        None, too, while this exit gave fewer than 50 of the latest answers.
        """
        counts, usual = self._bins(exit), self._usual.get(exit)
        if usual is None or sum(counts) < _FEWEST:
            return None
        return distance([count / sum(counts) for count in counts], usual.confidence)

    def document(self) -> dict[str, Any]:
        """What is known, by exit, as data."""
        return {"limit": self.limit, "exits": {exit.value: self._document(exit) for exit in Exit if self._seen(exit)}}

    def _seen(self, exit: Exit) -> bool:
        return any(self._bins(exit)) or self._audited[exit].audits > 0 or exit in self._promised

    def _document(self, exit: Exit) -> dict[str, Any]:
        usual, audited = self._usual.get(exit), self._audited[exit]
        answers = {
            "share": self.share(exit).document() | {"usual": usual.share if usual else None},
            "confidence": {"counts": self._bins(exit), "distance": self.distance(exit)},
        }
        audits = {
            "audited": audited.audits,
            "different": audited.different,
            "disagreement": self.disagreement(exit).document(),
            "promised": self._promised.get(exit),
            "e_value": self.evidence(exit) if audited.evidence else None,
            "alarm": audited.alarm and {"since": audited.alarm.since, "audits": audited.alarm.audits},
        }
        return answers if exit is Exit.CLOUD else answers | audits

    def _bins(self, exit: Exit) -> list[int]:
        return [self._counts[exit, bin] for bin in range(BINS)]
