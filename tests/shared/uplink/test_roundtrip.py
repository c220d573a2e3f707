"""What is known of how long one address takes."""

import pytest

from ddnn.uplink.health import RoundTrips


def seen(*seconds: float) -> RoundTrips:
    trips = RoundTrips()
    for each in seconds:
        trips.add(each)
    return trips


def test_nothing_is_known_before_the_first_reply() -> None:
    trips = RoundTrips()
    assert (trips.usual, trips.quick) == (None, None)
    assert trips.within(0.001, now=0.0)


def test_quantiles_are_of_the_last_32() -> None:
    trips = seen(*[9.0] * 40, *[n / 100 for n in range(1, 33)])
    assert trips.usual == pytest.approx(0.17, abs=0.01)
    assert trips.quick == pytest.approx(0.04)


def test_what_can_not_come_back_is_tried_twice_a_second_and_no_more() -> None:
    trips = seen(*[0.5] * 32)
    assert trips.within(0.6, now=10.0)
    assert [trips.within(0.1, now=10 + n / 10) for n in range(11)] == [n % 5 == 0 for n in range(11)]


def test_an_estimate_that_is_no_longer_true_is_forgotten_after_a_few_quick_replies() -> None:
    trips = seen(*[0.5] * 32)
    trips.within(0.1, now=0.0)
    for _ in range(4):
        assert not trips.within(0.1, now=0.1)
        trips.add(0.02)
    assert trips.within(0.1, now=0.1)
