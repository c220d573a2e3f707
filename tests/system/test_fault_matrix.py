"""The fault matrix, short: real processes over links, every kind of trouble, every answer judged.

`shared/benchmarks/faults.py` lets every trouble befall every tier, and measures how long things take.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

import pytest

from ddnn.bundle import Bundle, shipped_bundle
from fault_trial import Verdict, try_out, until_whole
from faulty_fleet import FaultyFleet, resealed, spread
from footprint import Footprint, footprints, leaks
from oracle import Oracle
from steady_load import SteadyLoad
from troubles import TROUBLES

PATIENT_S = 10.0
"""Deadline where nothing but a slow machine could exceed it."""
SHORT_S = 1.5
"""Deadline where the tier above is silent, so that every answer must come without it."""
SILENT = {"paused", "hangs", "cut up", "cut down"}


@dataclass
class Rig:
    """A fleet that troubles befall, and what is right of it."""

    fleet: FaultyFleet
    bundle: Bundle
    oracle: Oracle
    before: dict[str, Footprint]

    def load(self, deadline_s: float) -> SteadyLoad:
        rows = self.oracle.rows[:64]
        return SteadyLoad(self.fleet.device_urls, self.bundle, rows, rate=8, deadline_s=deadline_s)

    def trial(self, name: str, target: str, *, opens: bool = False) -> Verdict:
        """What callers see of one trouble."""
        (trouble,) = (each for each in TROUBLES if each.name == name)
        deadline_s = SHORT_S if name in SILENT and target in ("edge", "cloud") else PATIENT_S
        with self.load(deadline_s) as load:
            trial = try_out(self.fleet, load, trouble, target, seconds=0.8, quiet_s=0.4, opens=opens)
        self.fleet.until_idle()
        return Verdict.of(trial, load.samples, self.oracle, deadline_s)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("bundles")
    bundle = spread(Bundle.open(shipped_bundle()), folder / "spread", local=0.2, edge=0.2)
    with FaultyFleet(bundle.path, other=resealed(bundle, folder / "other")) as fleet:
        fleet.wait_until_ready(seconds=120)
        rig = Rig(fleet, bundle, Oracle(bundle), {})
        with rig.load(PATIENT_S) as load:
            until_whole(fleet, load, monotonic(), quiet_s=0.4)
        rig.before = footprints(fleet)
        yield rig


@pytest.mark.parametrize(
    ("trouble", "target"),
    [
        ("killed", "edge"),
        ("paused", "device-1"),
        ("paused", "cloud"),
        ("refuses", "edge"),
        ("hangs", "device-1"),
        ("garbage", "edge"),
        ("garbage", "device-1"),
        ("nonsense", "cloud"),
        ("error 500", "edge"),
        ("slow", "cloud"),
        ("flaps", "cloud"),
        ("cut up", "cloud"),
        ("cut down", "edge"),
        ("56 kbit/s", "device-1"),
        ("other bundle", "cloud"),
        ("clock +1 h", "edge"),
        ("disk full", "device-1"),
    ],
)
def test_no_request_is_lost_and_no_answer_is_silently_worse(rig: Rig, trouble: str, target: str) -> None:
    verdict = rig.trial(trouble, target)
    assert not verdict.lost
    assert not verdict.wrong
    assert verdict.asked


def test_a_silent_cloud_is_held_off_by_its_circuit(rig: Rig) -> None:
    verdict = rig.trial("hangs", "cloud", opens=True)
    assert not verdict.faults
    assert set(verdict.reasons) <= {"timeout", "deadline", "unreachable", "circuit_open"}


def test_nothing_is_left_behind(rig: Rig) -> None:
    assert not leaks(rig.fleet, rig.before)
