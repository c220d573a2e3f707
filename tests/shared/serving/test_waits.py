"""Who is alive, and how long the others are waited for."""

import pytest

from ddnn.serving.waits import Waits

CAP = 0.5


def test_at_start_all_are_alive() -> None:
    assert Waits(3, alive_events=2).alive == [True] * 3


def test_a_child_dies_after_as_many_events_without_it_and_lives_again_with_the_next() -> None:
    waits = Waits(2, alive_events=3)
    for alive in (True, True, False, False):
        waits.closed([0])
        assert waits.alive == [True, alive]
    waits.closed([0, 1])
    assert waits.alive == [True, True]


def test_a_latecomer_lives() -> None:
    waits = Waits(2, alive_events=1)
    waits.closed([0])
    assert waits.alive == [True, False]
    waits.late(1, 0.2)
    assert waits.alive == [True, True]


def test_an_event_is_complete_with_all_who_live_or_with_everyone_when_asked() -> None:
    waits = Waits(3, alive_events=1)
    waits.closed([0, 2])
    assert waits.complete([0, 2], everyone=False)
    assert waits.complete([0, 1, 2], everyone=True)
    assert not waits.complete([0, 2], everyone=True)
    assert not waits.complete([0], everyone=False)


def test_the_cap_holds_until_enough_was_seen() -> None:
    waits = Waits(2, alive_events=4)
    for _ in range(63):
        waits.arrived(0.02)
    assert waits.wait(CAP) == CAP
    waits.arrived(0.02)
    assert waits.wait(CAP) == pytest.approx(0.04)


def test_the_wait_is_twice_the_99th_percentile() -> None:
    waits = Waits(2, alive_events=4)
    for n in range(1, 102):
        waits.arrived(n / 1000)
    assert waits.wait(CAP) == pytest.approx(2 * 0.100)


def test_the_wait_stays_between_its_floor_and_its_cap() -> None:
    quick, slow = Waits(2, alive_events=4), Waits(2, alive_events=4)
    for _ in range(100):
        quick.arrived(0.0001)
        slow.arrived(3.0)
    assert quick.wait(CAP) == 0.01
    assert slow.wait(CAP) == CAP
    assert quick.wait(0.001) == 0.001


def test_what_came_together_says_nothing_and_a_latecomer_lengthens_the_wait() -> None:
    waits = Waits(2, alive_events=4)
    for _ in range(100):
        waits.arrived(0.0)
    assert waits.wait(CAP) == CAP
    for _ in range(64):
        waits.arrived(0.02)
    before = waits.wait(CAP)
    for _ in range(5):
        waits.late(1, 0.2)
    assert waits.wait(CAP) > before


def test_old_delays_are_forgotten() -> None:
    waits = Waits(2, alive_events=4)
    for delay in [0.2] * 512 + [0.02] * 512:
        waits.arrived(delay)
    assert waits.wait(CAP) == pytest.approx(0.04)
