"""Who is alive, and how long the others are waited for."""

import pytest

from ddnn.serving.stragglers import Stragglers

CAP = 0.5


def test_at_start_all_are_alive() -> None:
    assert Stragglers(3, alive_events=2).alive == [True] * 3


def test_a_child_dies_after_as_many_events_without_it_and_lives_again_with_the_next() -> None:
    stragglers = Stragglers(3, alive_events=3)
    for now, alive in enumerate((True, True, False, False)):
        stragglers.closed([0, 2], now, now + 0.5)
        assert stragglers.alive == [True, alive, True]
    stragglers.arrived(1, 0.0, 9)
    assert stragglers.alive == [True, True, True]


def test_events_that_overlap_are_missed_as_one() -> None:
    """A burst: all are opened together, and closed together without a child that is too slow for them."""
    stragglers = Stragglers(3, alive_events=2)
    for _ in range(40):
        stragglers.closed([0, 1], 10.0, 10.15)
    assert stragglers.alive == [True] * 3
    stragglers.closed([0, 1], 10.2, 10.35)
    assert stragglers.alive == [True, True, False]


def test_events_that_were_opened_before_a_child_was_heard_say_nothing_of_it() -> None:
    stragglers = Stragglers(3, alive_events=1)
    stragglers.arrived(2, 0.0, 10.1)  # of another event
    stragglers.closed([0, 1], 10.0, 10.2)
    assert stragglers.alive == [True] * 3


def test_events_of_one_child_say_nothing_of_the_others_but_where_there_are_two() -> None:
    of_three, of_two = Stragglers(3, alive_events=1), Stragglers(2, alive_events=1)
    for now in range(9):
        of_three.closed([0], now, now)
        of_two.closed([0], now, now)
    assert (of_three.alive, of_two.alive) == ([True] * 3, [True, False])


def test_a_latecomer_lives() -> None:
    stragglers = Stragglers(2, alive_events=1)
    stragglers.closed([0], 1, 1)
    assert stragglers.alive == [True, False]
    stragglers.arrived(1, 0.2, 2)
    assert stragglers.alive == [True, True]


def test_an_event_is_complete_with_all_who_live() -> None:
    stragglers = Stragglers(3, alive_events=1)
    stragglers.closed([0, 2], 1, 1)
    assert stragglers.complete([0, 2])
    assert not stragglers.complete([0])


def test_the_cap_holds_until_enough_was_seen() -> None:
    stragglers = Stragglers(2, alive_events=4)
    for _ in range(63):
        stragglers.arrived(0, 0.02, 1)
    assert stragglers.timeout(CAP) == CAP
    stragglers.arrived(0, 0.02, 1)
    assert stragglers.timeout(CAP) == pytest.approx(0.04)


def test_the_timeout_is_twice_the_99th_percentile() -> None:
    stragglers = Stragglers(2, alive_events=4)
    for n in range(1, 102):
        stragglers.arrived(0, n / 1000, 1)
    assert stragglers.timeout(CAP) == pytest.approx(2 * 0.100)


def test_the_timeout_stays_between_its_floor_and_its_cap() -> None:
    quick, slow = Stragglers(2, alive_events=4), Stragglers(2, alive_events=4)
    for _ in range(100):
        quick.arrived(0, 0.0001, 1)
        slow.arrived(0, 3.0, 1)
    assert quick.timeout(CAP) == 0.01
    assert slow.timeout(CAP) == CAP
    assert quick.timeout(0.001) == 0.001


def test_what_came_together_says_nothing_and_a_latecomer_lengthens_the_timeout() -> None:
    stragglers = Stragglers(2, alive_events=4)
    for _ in range(100):
        stragglers.arrived(0, 0.0, 1)
    assert stragglers.timeout(CAP) == CAP
    for _ in range(64):
        stragglers.arrived(0, 0.02, 1)
    before = stragglers.timeout(CAP)
    for _ in range(5):
        stragglers.arrived(1, 0.2, 2)
    assert stragglers.timeout(CAP) > before


def test_old_delays_are_forgotten() -> None:
    stragglers = Stragglers(2, alive_events=4)
    for delay in [0.2] * 512 + [0.02] * 512:
        stragglers.arrived(0, delay, 1)
    assert stragglers.timeout(CAP) == pytest.approx(0.04)
