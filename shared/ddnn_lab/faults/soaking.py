"""Random troubles for a fleet under load, one after the other, for as long as one likes; everything is judged."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any, Final, Self, get_args

import numpy as np

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.types import Answer
from ddnn.uplink import Reason
from ddnn_lab.faults.fleet import FaultyFleet, footprints, leaks, resealed, spread
from ddnn_lab.faults.oracle import Oracle, Trial, Verdict, try_out, until_whole
from ddnn_lab.faults.troubles import TARGETS, TROUBLES, Sample, SteadyLoad, Trouble

__all__ = ["Rig", "Soaked", "soak"]

_RESTARTS: Final = {"killed", "other bundle"}
_KINDS: Final = {trouble.name for trouble in TROUBLES}
_REASONS: Final = frozenset(get_args(Reason))
_BUSY: Final = frozenset({"timeout", "deadline", "circuit_open", "no_features", "refused"})


@dataclass
class Soaked:
    """What came of it."""

    asked: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)  #: of degraded answers in troubles
    calm: Counter[str] = field(default_factory=Counter)  #: of degraded answers between troubles
    troubles: Counter[str] = field(default_factory=Counter)
    whole_s: list[float] = field(default_factory=list)
    memory: list[tuple[float, Mapping[str, int]]] = field(default_factory=list)
    """Resident bytes by tier, and when, in seconds from the start."""
    seconds: float = 0.0

    @property
    def kinds(self) -> set[str]:
        """Of the troubles that have come, at whichever tier."""
        return {each.partition(" ")[2] for each in self.troubles}

    @property
    def growth(self) -> dict[str, float]:
        """By how much of itself each tier's memory grew in the second half: its first fifth against its last."""
        late = [each for at, each in self.memory if at > self.seconds / 2]
        few = max(1, len(late) // 5)
        if not late:
            return {}

        def usual(part: Sequence[Mapping[str, int]], name: str) -> float:
            return float(np.median([each[name] for each in part]))

        return {name: usual(late[-few:], name) / usual(late[:few], name) - 1 for name in late[0]}

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "seconds": self.seconds,
            "asked": self.asked,
            "lost": self.lost,
            "wrong": self.wrong,
            "degraded_in_troubles": dict(self.reasons),
            "degraded_between": dict(self.calm),
            "troubles": dict(self.troubles),
            "whole_s_max": max(self.whole_s, default=0.0),
            "memory_growth": self.growth,
            "memory": self.memory,
        }


def soak(
    fleet: FaultyFleet,
    bundle: Bundle,
    oracle: Oracle,
    *,
    seconds: float,
    rate: float,
    deadline_s: float = 2.0,
    lasting_s: tuple[float, float] = (0.5, 4.0),
    rest_s: float = 2.0,
    quiet_s: float = 1.0,
    seed: int = 0,
    tour: bool = False,
    progress: Callable[[Soaked], object] = lambda so_far: None,
) -> Soaked:
    """Let random troubles befall random tiers, each for `lasting_s` at least and at most, with `rest_s` between.

    It lasts `seconds`, and until every kind of trouble has come once. With a `tour` it lasts `seconds` alone: every
    trouble befalls every tier first, each at its longest, and after that no tier is restarted, so that no process has
    to hold more than it has held already.
    """
    chance, told = Random(seed), Soaked()
    waiting: list[Sample] = []
    with SteadyLoad(fleet.device_urls, bundle, oracle.rows, rate=rate, deadline_s=deadline_s, seed=seed) as load:
        sleep(rest_s)
        until_whole(fleet, load, monotonic(), quiet_s=quiet_s)
        start = monotonic()
        for trouble, target, lasting in _troubles(chance, lasting_s, tour=tour):
            trial = try_out(fleet, load, trouble, target, seconds=lasting, quiet_s=quiet_s)
            waiting = _judge(told, trial, waiting + load.take(), oracle, deadline_s)
            told.troubles[f"{target} {trouble.name}"] += 1
            told.whole_s.append(trial.whole - trial.ended)
            told.seconds = monotonic() - start
            told.memory.append((told.seconds, {name: each.memory for name, each in footprints(fleet).items()}))
            progress(told)
            if told.seconds >= seconds and (tour or told.kinds >= _KINDS):
                break
            sleep(rest_s)
    for sample in [*waiting, *load.take()]:
        _calm(told, sample, oracle)
    fleet.until_idle()
    return told


def _troubles(chance: Random, lasting_s: tuple[float, float], *, tour: bool) -> Iterator[tuple[Trouble, str, float]]:
    """Trouble, tier and how long, without end: each kind once before any comes again by chance."""
    pairs = list(product(TROUBLES, TARGETS))
    if tour:
        restarts = [pair for pair in pairs if pair[0].name in _RESTARTS]
        pairs = [pair for pair in pairs if pair not in restarts]
        yield from ((trouble, target, lasting_s[1]) for trouble, target in [*restarts, *pairs])
    else:
        for trouble in chance.sample(TROUBLES, len(TROUBLES)):
            yield trouble, chance.choice(TARGETS), chance.uniform(*lasting_s)
    while True:
        yield *chance.choice(pairs), chance.uniform(*lasting_s)


def _judge(told: Soaked, trial: Trial, samples: list[Sample], oracle: Oracle, deadline_s: float) -> list[Sample]:
    """Judge what was sent until the fleet was whole; return the rest."""
    verdict = Verdict.of(trial, samples, oracle, deadline_s, busy=_BUSY)
    told.asked += verdict.asked
    told.lost += [f"{trial.target} {trial.trouble.name}: {each}" for each in verdict.lost]
    told.wrong += [f"{trial.target} {trial.trouble.name}: {each}" for each in verdict.wrong]
    told.reasons.update(verdict.reasons)
    for sample in samples:
        if sample.sent < trial.began - deadline_s:
            _calm(told, sample, oracle)
    return [sample for sample in samples if sample.sent > trial.whole]


def _calm(told: Soaked, sample: Sample, oracle: Oracle) -> None:
    """Between troubles every answer is right, and if a busy machine made it degraded, it says so."""
    told.asked += 1
    if not isinstance(sample.told, Answer):
        told.lost.append(f"between troubles: {sample.told}")
    elif fault := oracle.fault(sample.row, sample.device, sample.told, _REASONS):
        told.wrong.append(f"between troubles: {fault}")
    elif sample.told.degraded:
        told.calm[sample.told.degraded_reason] += 1


_PATIENT_S: Final = 10.0  #: deadline where nothing but a slow machine could exceed it
_SHORT_S: Final = 1.5  #: deadline where the tier above is silent, so that every answer must come without it
_SILENT: Final = {"paused", "hangs", "cut up", "cut down"}
_QUIET_S: Final = 0.4
_RIG_BUSY: Final = frozenset({"timeout", "deadline", "circuit_open", "refused"})
"""On a machine with too much to do a tier may give up waiting, or refuse, and says so; but not where none may."""


class Rig:
    """The fleet, its bundle, and an oracle."""

    def __init__(self, fleet: FaultyFleet, bundle: Bundle) -> None:
        self.fleet, self.bundle, self.oracle = fleet, bundle, Oracle(bundle)
        with self.load(_PATIENT_S) as load:
            until_whole(fleet, load, monotonic(), quiet_s=_QUIET_S)
        self._before = footprints(fleet)

    @classmethod
    @contextmanager
    def of(cls, folder: Path, identity: Path | None = None) -> Iterator[Self]:
        """The shipped bundle under a policy by which every exit answers, and another bundle, both in `folder`."""
        bundle = spread(Bundle.open(shipped_bundle()), folder / "spread", local=0.2, edge=0.2, wait_ms=1000.0)
        with FaultyFleet(bundle.path, other=resealed(bundle, folder / "other"), identity=identity) as fleet:
            fleet.wait_until_ready(seconds=120)
            yield cls(fleet, bundle)

    def load(self, deadline_s: float) -> SteadyLoad:
        """Golden events for all devices."""
        rows = self.oracle.rows[:64]
        return SteadyLoad(self.fleet.device_urls, self.bundle, rows, rate=8, deadline_s=deadline_s)

    def trial(self, name: str, target: str, *, opens: bool = False) -> Verdict:
        """What callers see of one trouble; with `opens` it lasts until the circuit towards the target is open."""
        (trouble,) = (each for each in TROUBLES if each.name == name)
        deadline_s = _SHORT_S if name in _SILENT and target in ("edge", "cloud") else _PATIENT_S
        with self.load(deadline_s) as load:
            trial = try_out(self.fleet, load, trouble, target, seconds=0.8, quiet_s=_QUIET_S, opens=opens)
        self.fleet.until_idle()
        busy = _RIG_BUSY if trouble.reasons else frozenset[str]()
        return Verdict.of(trial, load.samples, self.oracle, deadline_s, busy=busy)

    def leaks(self) -> list[str]:
        """What tiers hold more than at the start and do not let go of."""
        return leaks(self.fleet, self._before)
