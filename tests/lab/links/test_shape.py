"""Shapes as people write them, and when bytes arrive under them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddnn.errors import BadInput
from ddnn.links import LinkShape
from ddnn_lab.links.link import Lane


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("", LinkShape()),
        ("40ms", LinkShape(0.04)),
        ("40ms,10mbit", LinkShape(0.04, 10e6)),
        ("10mbit, 0.04 s, 5ms", LinkShape(0.04, 10e6, 0.005)),
        ("56kbit", LinkShape(0, 56e3)),
    ],
)
def test_a_shape_is_a_round_trip_a_rate_and_a_jitter(text: str, shape: LinkShape) -> None:
    assert LinkShape.parse(text) == shape


@given(st.integers(0, 10_000), st.integers(1, 10**7), st.integers(0, 1000))
def test_a_shape_reads_as_it_is_written(round_trip_ms: int, kbit: int, jitter_ms: int) -> None:
    shape = LinkShape.parse(f"{round_trip_ms}ms,{kbit}kbit,{jitter_ms}ms")
    assert LinkShape.parse(str(shape)) == shape


@pytest.mark.parametrize("text", ["40", "1ms,2ms,3ms", "1mbit,2mbit", "0mbit", "-5ms", "5 apples"])
def test_what_is_no_shape_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(BadInput, match=f"the shape of a link is '{text}'"):
        LinkShape.parse(text)


def test_a_message_of_no_length_takes_half_the_round_trip_each_way() -> None:
    assert Lane(LinkShape(round_trip_s=0.04), 0).send(0, 7.0) == (7.0, 7.02)


def test_bits_leave_one_after_the_other_whoever_sends_them() -> None:
    lane = Lane(LinkShape(round_trip_s=2, bits_per_s=8000), 0)
    assert lane.send(1000, 10.0) == (11.0, 12.0)
    assert lane.send(500, 10.2) == (11.5, 12.5)
    assert lane.send(1000, 20.0) == (21.0, 22.0), "an idle lane saves up nothing"


def test_jitter_delays_as_long_as_it_says_on_average_and_keeps_the_order() -> None:
    lane, late, last = Lane(LinkShape(jitter_s=0.2), 3), 0.0, 0.0
    for now in range(10_000):
        late += lane.send(1, now)[1] - now
    assert late / 10_000 == pytest.approx(0.1, rel=0.03)
    for number in range(1000):
        _, arrives = lane.send(1, number / 1000, after=last)
        assert arrives >= last
        last = arrives


def test_narrow_lanes_are_shared_in_small_turns() -> None:
    assert (
        Lane(LinkShape(bits_per_s=56e3), 0).chunk
        < Lane(LinkShape(bits_per_s=10e6), 0).chunk
        < Lane(LinkShape(), 0).chunk
    )
    assert math.isinf(LinkShape().bits_per_s)
