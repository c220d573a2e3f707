"""Devices that contradict the others far more often than when the policy was made, as one that is broken or lies does.

What the others say is the class with the largest sum of their log probabilities, none of which counts for less than
`LEAST`, so that no one of them outweighs the rest. Legend: N events, D devices that are joined, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from ddnn.drift.evidence import Evidence
from ddnn.types import Array, Bools, Floats, Ints

__all__ = ["FEWEST", "OutlierMonitor", "others"]

FEWEST: Final = 3
"""Devices that must be heard: of two that contradict each other nobody can tell which is wrong."""
LEAST: Final = -4.0  #: a log probability counts for no less
AGAIN: Final = 100
"""Events after which a device that was set aside is looked at again."""
_FADES: Final = 0.98  #: what an event counts for, one later
_START: Final = 10.0  #: agreement that is taken for granted, in events
_TELLS: Final = 0.95
"""Where contradicting is promised to be as frequent as that, an event tells nothing."""


def others(scores: Floats, here: Bools) -> Ints:
    """(…, D) the class that those who are here (…, D), but for the device itself, give by their scores (…, D, K)."""
    low = scores - scores.max(axis=-1, keepdims=True)
    votes = np.maximum(low - np.log(np.exp(low).sum(axis=-1, keepdims=True)), LEAST) * here[..., None]
    return np.asarray((votes.sum(axis=-2, keepdims=True) - votes).argmax(axis=-1))


@dataclass(slots=True)
class _Aside:
    since: float
    events: int = 0  #: since then, or since it was last looked at
    agreed: float = 0.0
    expected: float = 0.0


class OutlierMonitor:
    """Of the devices under one edge. All its tests together set a true device aside as rarely as asked, ever."""

    def __init__(self, promised: Array, *, keep: float, false_alarm: float, clock: Callable[[], float]) -> None:
        """`promised` (D, K): how often a device at most contradicts the others where these say class k.

        A device must keep this share, `keep`, of the agreement that follows, or of what its median sibling keeps of
        its own: where all of them see worse, none is an outlier.
        """
        self._promised, self._keep, self._clock = np.asarray(promised, np.float64), keep, clock
        devices = len(self._promised)
        self._limit = np.log(devices / false_alarm)
        self._most = (devices - 1) // 2
        self._evidence = Evidence(0.5, (devices,))
        self._agreed, self._expected = np.full(devices, _START), np.full(devices, _START)
        self.aside: dict[int, _Aside] = {}

    def note(self, scores: Floats, here: Bools) -> tuple[int | None, list[int]]:
        """Scores (D, K) of the devices that are here (D), set aside or not; who is set aside now, and who no more."""
        trusted = here.copy()
        trusted[list(self.aside)] = False
        if trusted.sum() < FEWEST:
            return None, []
        devices = np.arange(len(here))
        said, them = scores.argmax(axis=1), others(scores, trusted)
        usual = 1 - self._promised[devices, them]
        rate = self._agreed / self._expected
        least = usual * self._keep * min(1.0, float(np.median(rate)))
        tells = here & (least > 1 - _TELLS)
        self._evidence.add(said != them, tells, np.clip(1 - least, 1e-6, _TELLS))
        same = (said == them) & here
        for tally, seen in ((self._agreed, same), (self._expected, usual * here)):
            tally *= _FADES
            tally += seen
            tally += _START * (1 - _FADES)
        heard = [(device, seen) for device, seen in self.aside.items() if here[device]]
        back = [device for device, seen in heard if self._again(seen, bool(same[device]), float(least[device]))]
        for device in back:
            del self.aside[device]
            self._evidence.begin(device)
        return self._found(trusted), back

    @staticmethod
    def _again(seen: _Aside, same: bool, least: float) -> bool:
        """Whether a device that was set aside has agreed enough since."""
        seen.events += 1
        seen.agreed += same
        seen.expected += least
        if seen.events < AGAIN:
            return False
        kept = seen.agreed >= seen.expected
        seen.events, seen.agreed, seen.expected = 0, 0.0, 0.0
        return kept

    def _found(self, trusted: Bools) -> int | None:
        if len(self.aside) >= self._most or trusted.sum() <= FEWEST:
            return None
        evidence = np.where(trusted, self._evidence.log, -np.inf)
        worst = int(evidence.argmax())
        if evidence[worst] < self._limit:
            return None
        self.aside[worst] = _Aside(self._clock())
        return worst

    @property
    def agreement(self) -> Array:
        """(D,) share of what was promised that each device has lately agreed with the others, at least: 1 is usual."""
        return np.asarray(self._agreed / self._expected)

    def since(self) -> dict[int, float]:
        """Since when each device is set aside that is."""
        return {device: seen.since for device, seen in sorted(self.aside.items())}
