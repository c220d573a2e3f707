"""A fleet that troubles befall, once for all tests, and what is right of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Final, Self

from ddnn.bundle import Bundle, shipped_bundle
from ddnn_lab.faults.fleet import FaultyFleet, footprints, leaks, resealed, spread
from ddnn_lab.faults.oracle import Oracle
from ddnn_lab.faults.trial import Verdict, try_out, until_whole
from ddnn_lab.faults.troubles import TROUBLES, SteadyLoad

__all__ = ["Rig"]

_PATIENT_S: Final = 10.0
"""Deadline where nothing but a slow machine could exceed it."""
_SHORT_S: Final = 1.5
"""Deadline where the tier above is silent, so that every answer must come without it."""
_SILENT: Final = {"paused", "hangs", "cut up", "cut down"}
_QUIET_S: Final = 0.4
_BUSY: Final = frozenset({"timeout", "deadline", "circuit_open"})
"""Whoever waits for a machine with too much to do may give up, and says so; but not where nobody may."""


class Rig:
    """The fleet, its bundle, and an oracle."""

    def __init__(self, fleet: FaultyFleet, bundle: Bundle) -> None:
        self.fleet, self.bundle, self.oracle = fleet, bundle, Oracle(bundle)
        with self.load(_PATIENT_S) as load:
            until_whole(fleet, load, monotonic(), quiet_s=_QUIET_S)
        self._before = footprints(fleet)

    @classmethod
    @contextmanager
    def of(cls, folder: Path) -> Iterator[Self]:
        """The shipped bundle under a policy by which every exit answers, and another bundle, both in `folder`."""
        bundle = spread(Bundle.open(shipped_bundle()), folder / "spread", local=0.2, edge=0.2, wait_ms=1000.0)
        with FaultyFleet(bundle.path, other=resealed(bundle, folder / "other")) as fleet:
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
        busy = _BUSY if trouble.reasons else frozenset[str]()
        return Verdict.of(trial, load.samples, self.oracle, deadline_s, busy=busy)

    def leaks(self) -> list[str]:
        """What tiers hold more than at the start and do not let go of."""
        return leaks(self.fleet, self._before)
