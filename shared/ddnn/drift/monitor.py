"""One policy, watched: what each exit answers, how often it differs from the cloud, and whether the promise holds."""

from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final

from ddnn.drift.evidence import Evidence
from ddnn.drift.histogram import BINS, distance
from ddnn.drift.interval import wilson
from ddnn.policy import Policy
from ddnn.types import Exit

__all__ = ["Alarm", "DriftMonitor", "Interval"]

_AUDITS: Final = 500
"""Latest audits of an exit that its estimate is made of."""
_ANSWERS: Final = 2_000
"""Latest answers that exit shares and confidences are made of."""
_FEWEST: Final = 50
"""A histogram of fewer answers is far from every other by chance."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """The promise of an exit is no longer supported."""

    exit: Exit
    since: float
    """When that was found, on the watch's clock."""
    audits: int
    """Audits of the exit by then."""


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
        return {"share": self.share, "low": self.low, "high": self.high}


@dataclass(slots=True)
class _Audited:
    """The audits of one exit."""

    evidence: Evidence | None
    """None without a promise."""
    audits: int = 0
    different: int = 0
    latest: deque[bool] = field(default_factory=lambda: deque(maxlen=_AUDITS))
    alarm: Alarm | None = None


class DriftMonitor:
    """Watches one policy at one tier; another policy needs another watch, as it promises something else."""

    def __init__(self, policy: Policy, *, exits: Collection[Exit], clock: Callable[[], float]) -> None:
        """`exits` are audited in the whole fleet: all their tests together raise a false alarm as rarely as asked."""
        promised = policy.promise.disagreement if policy.promise else {}
        self._usual = policy.promise.usual if policy.promise else {}
        self._promised, self._clock = promised, clock
        self.limit = max(len(promised.keys() & exits), 1) / policy.audits.false_alarm
        """An e-value as high as this raises the alarm (Bonferroni over the tests)."""
        self._audited: dict[Exit, _Audited] = {
            exit: _Audited(Evidence(promised[exit]) if exit in promised else None)
            for exit in Exit
            if exit is not Exit.CLOUD
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
        return min(
            (each for exit in self._audited if (each := self.alarm_of(exit))), key=lambda a: a.since, default=None
        )

    def alarm_of(self, exit: Exit) -> Alarm | None:
        """That of one exit."""
        return self._audited[exit].alarm if exit in self._audited else None

    def evidence(self, exit: Exit) -> float:
        """E-value against the promise of `exit`; 1 without a promise."""
        audited = self._audited.get(exit)
        return float(audited.evidence.value) if audited and audited.evidence else 1.0

    def disagreement(self, exit: Exit) -> Interval:
        """Share of the answers of `exit` that are not the cloud's, by its latest audits."""
        audited = self._audited.get(exit)
        return Interval.of(sum(audited.latest), len(audited.latest)) if audited else Interval.of(0, 0)

    def share(self, exit: Exit) -> Interval:
        """Share of the latest answers that were given at `exit`."""
        return Interval.of(sum(self._bins(exit)), len(self._answers))

    def distance(self, exit: Exit) -> float | None:
        """How far the latest confidences are from those the policy was tuned on; None where nobody noted those.

        None, too, while this exit gave fewer than 50 of the latest answers.
        """
        counts, total = self._bins(exit), sum(self._bins(exit))
        usual = self._usual.get(exit)
        return distance([count / total for count in counts], usual.confidence) if usual and total >= _FEWEST else None

    def document(self) -> dict[str, Any]:
        """What is known, by exit, as data."""
        return {"limit": self.limit, "exits": {exit.value: self._document(exit) for exit in Exit if self._seen(exit)}}

    def _seen(self, exit: Exit) -> bool:
        audited = self._audited.get(exit)
        return any(self._bins(exit)) or bool(audited and audited.audits) or exit in self._promised

    def _document(self, exit: Exit) -> dict[str, Any]:
        usual = self._usual.get(exit)
        known: dict[str, Any] = {
            "share": self.share(exit).document() | {"usual": usual.share if usual else None},
            "confidence": {"counts": self._bins(exit), "distance": self.distance(exit)},
        }
        if (audited := self._audited.get(exit)) is None:
            return known
        alarm = audited.alarm
        return known | {
            "audited": audited.audits,
            "different": audited.different,
            "disagreement": self.disagreement(exit).document(),
            "promised": self._promised.get(exit),
            "e_value": self.evidence(exit) if audited.evidence else None,
            "alarm": alarm and {"since": alarm.since, "audits": alarm.audits},
        }

    def _bins(self, exit: Exit) -> list[int]:
        return [self._counts[exit, bin] for bin in range(BINS)]
