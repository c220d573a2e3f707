"""What each exit of one policy answers, how often that differs from the cloud, and whether the promise holds.

For each of some classes, too, how often answers below the cloud are another class where the cloud says that one.
"""

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
_MOST_CLASSES: Final = 20  #: classes that are watched: those promised least of the promised ones, then as they come
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
    """The promise of an exit, or that of a class, is no longer supported."""

    exit: Exit  #: whose audit showed it
    since: float  #: when that was found, on the monitor's clock
    audits: int  #: audits of the exit, or of the class, by then
    label: int | None = None  #: the class


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
    """The audits of one exit, or of one class."""

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
        recall = promise.recall if promise else {}
        of_classes = sorted(recall, key=lambda index: recall[index].least)[:_MOST_CLASSES]
        self._missed = {index: recall[index].missed for index in of_classes}
        tiers = len({exit is Exit.DEVICE for exit in exits})  # each of which tests its own audits of a class
        tests = len(promised.keys() & exits) + tiers * len(of_classes)
        self.limit = max(tests, 1) / policy.audits.false_alarm
        """An e-value as high as this raises the alarm (Bonferroni over the tests)."""
        self._audited: dict[Exit | int, _Audited] = {
            exit: _Audited(Evidence(promised[exit]) if exit in promised else None) for exit in Exit
        }
        self._audited |= {index: _Audited(Evidence(missed)) for index, missed in self._missed.items()}
        self._answers: deque[tuple[Exit, int]] = deque()
        self._counts: Counter[tuple[Exit, int]] = Counter()

    def answered(self, exit: Exit, confidence: float) -> None:
        """An answer was given at `exit`."""
        answer = exit, min(int(confidence * BINS), BINS - 1)
        self._answers.append(answer)
        self._counts[answer] += 1
        if len(self._answers) > _ANSWERS:
            self._counts[self._answers.popleft()] -= 1

    def audited(self, exit: Exit, same: bool, label: int | None = None) -> Alarm | None:
        """An answer of `exit` was the cloud's, which is `label` if that is known, or not; the alarm, if this raises it.

        That of the exit goes before that of the class.
        """
        if label is not None and label not in self._audited and len(self.classes) < _MOST_CLASSES:
            self._audited[label] = _Audited(None)
        alarms = [self._add(part, exit, same) for part in (exit, label) if part in self._audited]
        return next((alarm for alarm in alarms if alarm), None)

    def _add(self, part: Exit | int, exit: Exit, same: bool) -> Alarm | None:
        audited = self._audited[part]
        audited.audits += 1
        audited.different += not same
        audited.latest.append(not same)
        if audited.evidence is None:
            return None
        audited.evidence.add(not same)
        if audited.alarm or self.evidence(part) < self.limit:
            return None
        label = None if isinstance(part, Exit) else part
        audited.alarm = Alarm(exit, self._clock(), audited.audits, label)
        return audited.alarm

    @property
    def classes(self) -> list[int]:
        """The classes that are watched."""
        return [part for part in self._audited if not isinstance(part, Exit)]

    @property
    def alarm(self) -> Alarm | None:
        """The first that was raised."""
        raised = [audited.alarm for audited in self._audited.values() if audited.alarm]
        return min(raised, key=lambda alarm: alarm.since, default=None)

    def alarm_of(self, part: Exit | int) -> Alarm | None:
        """That of one exit or class."""
        return self._audited[part].alarm

    def evidence(self, part: Exit | int) -> float:
        """E-value against the promise of an exit or class; 1 without a promise."""
        evidence = self._audited[part].evidence
        return float(evidence.value) if evidence else 1.0

    def disagreement(self, exit: Exit) -> Interval:
        """Share of the answers of `exit` that are not the cloud's, by its latest audits."""
        latest = self._audited[exit].latest
        return Interval.of(sum(latest), len(latest))

    def recall(self, index: int) -> Interval:
        """Of the latest audits in which the cloud says class `index`, the share whose answer was that too."""
        latest = self._audited[index].latest
        return Interval.of(len(latest) - sum(latest), len(latest))

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
        """What is known, by exit and by class, as data."""
        return {
            "limit": self.limit,
            "exits": {exit.value: self._document(exit) for exit in Exit if self._seen(exit)},
            "classes": {str(index): self._of_class(index) for index in self.classes},
        }

    def _seen(self, exit: Exit) -> bool:
        return any(self._bins(exit)) or self._audited[exit].audits > 0 or exit in self._promised

    def _document(self, exit: Exit) -> dict[str, Any]:
        usual = self._usual.get(exit)
        answers = {
            "share": self.share(exit).document() | {"usual": usual.share if usual else None},
            "confidence": {"counts": self._bins(exit), "distance": self.distance(exit)},
        }
        disagreement = {"disagreement": self.disagreement(exit).document(), "promised": self._promised.get(exit)}
        return answers if exit is Exit.CLOUD else answers | self._counts_of(exit) | disagreement

    def _of_class(self, index: int) -> dict[str, Any]:
        promised = 1 - self._missed[index] if index in self._missed else None
        return self._counts_of(index) | {"recall": self.recall(index).document(), "promised": promised}

    def _counts_of(self, part: Exit | int) -> dict[str, Any]:
        audited = self._audited[part]
        return {
            "audited": audited.audits,
            "different": audited.different,
            "e_value": self.evidence(part) if audited.evidence else None,
            "alarm": audited.alarm and {"since": audited.alarm.since, "audits": audited.alarm.audits},
        }

    def _bins(self, exit: Exit) -> list[int]:
        return [self._counts[exit, bin] for bin in range(BINS)]
