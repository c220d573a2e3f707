"""Which share of the events a tier sheds as it gets late, which events these are, and what its machine says."""

from collections import deque
from pathlib import Path

import pytest

from ddnn.errors import Overloaded
from ddnn.serving.pressure import CpuPressure, Pressure, Share, chosen

LOOK_S = 0.025
TARGET_S = 0.02


def loaded(times: float, seconds: float, *, share: Share | None = None) -> tuple[float, float]:
    """The mean share and lateness, of the last half, of a loop that is offered so many `times` what it can do.

    What it lets in and has no time for stands before it; what it lets in it hears of a fifth of a second later.
    """
    share = share or Share(TARGET_S)
    behind, shares, lates = 0.0, list[float](), list[float]()
    let_in = deque([1.0] * 8, maxlen=8)
    for _ in range(int(seconds / LOOK_S)):
        let_in.append(1 - share.value)
        behind = max(0.0, behind + LOOK_S * (times * let_in[0] - 1))
        share.follow(behind, LOOK_S)
        shares.append(share.value)
        lates.append(behind)
    half = len(shares) // 2
    return sum(shares[half:]) / (len(shares) - half), sum(lates[half:]) / (len(lates) - half)


@pytest.mark.parametrize("times", [1.1, 1.5, 2.0, 3.0, 10.0])
def test_what_is_more_than_a_loop_can_do_is_shed_and_it_stays_nearly_in_time(times: float) -> None:
    share, late = loaded(times, 60)
    assert share == pytest.approx(1 - 1 / times, abs=0.02)
    assert late < 2 * TARGET_S


def test_nothing_is_shed_of_what_a_loop_can_do_nor_once_the_load_is_over() -> None:
    share = Share(TARGET_S)
    assert loaded(0.9, 10, share=share) == (0.0, 0.0)
    loaded(3.0, 10, share=share)
    assert share.value > 0.5
    loaded(0.2, 10, share=share)
    assert share.value == 0


def test_one_stall_sheds_next_to_nothing() -> None:
    share = Share(TARGET_S)
    share.follow(0.2, LOOK_S)
    values = [share.follow(0.0, LOOK_S) for _ in range(40)]
    assert max(values) < 0.2
    assert values[10] < 0.01


def test_the_same_events_are_shed_everywhere_and_those_of_a_small_share_in_a_larger_one_too() -> None:
    ids = [b"event %d" % n for n in range(4000)]
    small, large = ({id for id in ids if chosen(id, share)} for share in (0.25, 0.75))
    assert small < large
    assert len(small) / 4000 == pytest.approx(0.25, abs=0.03)
    assert len(large) / 4000 == pytest.approx(0.75, abs=0.03)
    assert not any(chosen(id, 0.0) for id in ids)


def made(folder: Path, *, waited_us: int = 0, group: str = "/") -> Path:
    """A made `/proc` and control group that tell of so much waiting."""
    (folder / "proc/self").mkdir(parents=True, exist_ok=True)
    (folder / "proc/self/cgroup").write_text(f"1:name=systemd:/x\n0::{group}\n")
    file = folder / "cgroup" / group.lstrip("/") / "cpu.pressure"
    file.parent.mkdir(parents=True, exist_ok=True)
    tell(file, waited_us)
    return file


def tell(file: Path, waited_us: int) -> None:
    some = f"some avg10=1.00 avg60=1.00 avg300=1.00 total={waited_us}"
    file.write_text(f"{some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def of(folder: Path, clock: Clock) -> CpuPressure:
    return CpuPressure(folder / "proc", folder / "cgroup", clock)


@pytest.mark.parametrize("group", ["/", "/site/edge.service"])
def test_the_control_groups_own_pressure_is_the_share_of_the_time_since_it_was_read(tmp_path: Path, group: str) -> None:
    clock, file = Clock(), made(tmp_path, waited_us=7_000_000, group=group)
    cpu = of(tmp_path, clock)
    assert (cpu.file, cpu.share) == (file, None)
    clock.now += 1
    tell(file, 7_400_000)
    cpu.read()
    assert cpu.share == pytest.approx(0.4)
    clock.now += 0.1
    tell(file, 7_500_000)
    cpu.read()  # so soon it is not read again
    assert cpu.share == pytest.approx(0.4)


def test_a_machine_without_control_groups_tells_its_own_and_one_that_counts_nothing_none(tmp_path: Path) -> None:
    assert of(tmp_path / "nothing", Clock()).share is None
    (tmp_path / "proc/pressure").mkdir(parents=True)
    file = tmp_path / "proc/pressure/cpu"
    file.write_text("no such thing")
    assert of(tmp_path, Clock()).file is None
    tell(file, 0)
    assert of(tmp_path, Clock()).file == file


def test_what_stops_telling_is_unknown(tmp_path: Path) -> None:
    clock, file = Clock(), made(tmp_path)
    cpu = of(tmp_path, clock)
    clock.now += 1
    cpu.read()
    assert cpu.share == 0
    file.unlink()
    clock.now += 1
    cpu.read()
    assert cpu.share is None


def pressed(tmp_path: Path, *, waited: float, late_s: float, busy: bool = True) -> Pressure:
    """A tier whose loop was late by so much for two seconds, while for that share of the time a CPU was waited for."""
    clock, file = Clock(), made(tmp_path)
    pressure = Pressure(TARGET_S, lambda: busy, of(tmp_path, clock))
    for look in range(1, 81):
        clock.now += LOOK_S
        tell(file, int(1e6 * waited * look * LOOK_S))
        pressure.look(late_s, LOOK_S)
    return pressure


def refused(pressure: Pressure, above: float) -> float:
    """Share of events with ids that are refused."""
    count = 0
    for n in range(1000):
        try:
            pressure.refuse(b"%d" % n, above)
        except Overloaded:
            count += 1
    return count / 1000


def test_a_tier_that_is_late_sheds_and_tells_those_below(tmp_path: Path) -> None:
    heard = []
    pressure = pressed(tmp_path, waited=0.9, late_s=0.0)
    end = pressure.listen(lambda: heard.append(pressure.told))
    assert (refused(pressure, 0.0), pressure.told) == (0, 0)
    for _ in range(20):
        pressure.look(0.1, LOOK_S)
    assert heard[-1] == pressure.told == pytest.approx(pressure.share, abs=1 / 64)
    assert refused(pressure, 0.0) == pytest.approx(pressure.share, abs=0.05)
    assert "90 % of the time" in pressure.cause(0.0)
    end()
    count = len(heard)
    pressure.look(0.5, LOOK_S)
    assert len(heard) == count


def test_what_the_tier_above_sheds_is_refused_where_cpu_is_scarce_and_answered_below_where_it_is_not(
    tmp_path: Path,
) -> None:
    assert refused(pressed(tmp_path / "scarce", waited=0.9, late_s=0.0), 0.5) == pytest.approx(0.5, abs=0.05)
    assert refused(pressed(tmp_path / "free", waited=0.1, late_s=0.0), 0.5) == 0


def test_events_without_an_id_are_shed_in_turn(tmp_path: Path) -> None:
    pressure = pressed(tmp_path, waited=0.9, late_s=0.0)
    assert sum(pressure.picks(None, 0.25) for _ in range(1000)) == pytest.approx(250, abs=5)


def test_a_tier_that_has_little_to_do_or_is_told_not_to_sheds_nothing_however_late_it_is(tmp_path: Path) -> None:
    assert refused(pressed(tmp_path / "idle", waited=0.9, late_s=0.5, busy=False), 0.9) == 0
    off = Pressure(0.0, lambda: True, of(tmp_path, Clock()))
    off.look(0.5, LOOK_S)
    assert (off.share, off.told) == (0.0, 0.0)
