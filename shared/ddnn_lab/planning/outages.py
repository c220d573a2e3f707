"""What fails and comes back: an edge, a core of the cloud, the link between them; times up and away are exponential."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from ddnn.errors import BadInput

__all__ = ["FAILS", "Outage", "UpAndAway", "parse_outages", "spares"]

FAILS: Final = ("edge", "edge-cloud", "cloud")
"""What may fail: an edge's machine, its link to the cloud, a core of the cloud."""
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_OUTAGE: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd]),(\d+(?:\.\d+)?)([smhd])")
_SELDOM: Final = 1e-3  #: share of the time in which more are away than there are to spare


@dataclass(frozen=True)
class Outage:
    """It is there for `every_s` in the mean, then away for `away_s`."""

    every_s: float
    away_s: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `30d,10m`; raise `BadInput`."""
        match = _OUTAGE.fullmatch(text)
        numbers = [float(match[n]) * _UNITS[match[n + 1]] for n in (1, 3)] if match else []
        if not numbers or not min(numbers) > 0:
            raise BadInput(f"{text!r} is no outage; expected how long it is there and how long away, such as 30d,10m")
        return cls(*numbers)

    @property
    def share(self) -> float:
        """Of the time that it is away."""
        return self.away_s / (self.every_s + self.away_s)


class UpAndAway:
    """One thing that fails: made as simulated time goes on, which it only does."""

    def __init__(self, outage: Outage, chance: np.random.Generator) -> None:
        self._outage, self._chance = outage, chance
        self._away = bool(chance.random() < outage.share)  # as at any moment
        self._until = self._next(0.0)

    def back_in(self, now: float) -> float:
        """Seconds until it is there, 0 while it is."""
        while self._until <= now:
            self._away = not self._away
            self._until = self._next(self._until)
        return self._until - now if self._away else 0.0

    def _next(self, now: float) -> float:
        return now + float(self._chance.exponential(self._outage.away_s if self._away else self._outage.every_s))


def spares(cores: int, outage: Outage | None) -> int:
    """How many more cores there must be, so that so many are there but for a thousandth of the time."""
    if outage is None:
        return 0
    more, away = 0, outage.share
    while _beyond(cores + more, more, away) > _SELDOM:
        more += 1
    return more


def _beyond(count: int, most: int, share: float) -> float:
    """The chance that more than `most` of `count` are away: a binomial tail."""
    seldom = (math.log(share), math.log1p(-share))
    terms = [
        math.lgamma(count + 1)
        - math.lgamma(n + 1)
        - math.lgamma(count - n + 1)
        + n * seldom[0]
        + (count - n) * seldom[1]
        for n in range(most + 1)
    ]
    return max(0.0, 1 - sum(map(math.exp, terms)))


def parse_outages(given: Sequence[str]) -> Mapping[str, Outage]:
    """Read `edge=30d,10m` of each kind; raise `BadInput`."""
    found = {}
    for text in given:
        name, _, shape = text.partition("=")
        if name not in FAILS or not shape:
            raise BadInput(f"--fails is {text!r}; expected {', '.join(FAILS)}, then =30d,10m")
        found[name] = Outage.parse(shape)
    return found
