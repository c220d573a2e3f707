"""Whose answer counts."""

from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pytest

from ddnn.client import join, joined
from ddnn.errors import BadInput, Overloaded, Unavailable
from ddnn.types import Answer, Exit

BASE = Answer(
    label=0,
    probabilities=np.array([0.5, 0.5], np.float32),
    exit=Exit.LOCAL,
    confidence=0.5,
    devices=np.array([True, False, False]),
    policy_version=1,
    bytes_up=10,
)
BEST_FIRST = [
    replace(BASE, exit=Exit.CLOUD),
    replace(BASE, exit=Exit.EDGE, confidence=0.1),
    replace(BASE, devices=np.array([True, True, True]), confidence=0.2),
    replace(BASE, devices=np.array([False, True, True]), confidence=0.9),
    replace(BASE, confidence=0.8),
    BASE,
    replace(BASE, exit=Exit.DEVICE, confidence=1.0),
    replace(BASE, exit=Exit.CLOUD, degraded=True, confidence=1.0),
    replace(BASE, exit=Exit.EDGE, degraded=True, devices=np.array([True, True, True])),
]


def test_not_degraded_then_the_latest_exit_then_most_devices_then_the_surest() -> None:
    for better, worse in pairwise(BEST_FIRST):
        assert join([better, worse]) == 0
        assert join([worse, better]) == 1


def test_the_order_of_devices_decides_only_between_equals() -> None:
    for order in permutations(range(4)):
        assert order[join([BEST_FIRST[index] for index in order])] == 0
    assert join([None, BASE, BASE]) == 1


def test_a_row_without_a_label_is_no_answer() -> None:
    assert join([None, replace(BASE, label=-1, exit=Exit.CLOUD), BASE]) == 2
    with pytest.raises(BadInput, match="no answer to join"):
        join([None, replace(BASE, label=-1)])


def test_the_joined_answer_adds_up_the_bytes_and_keeps_what_each_said() -> None:
    error = Overloaded("no room")
    answer = joined("a", [BASE, None, BEST_FIRST[0]], {1: error})
    assert (answer.event, answer.exit, answer.bytes_up) == ("a", Exit.CLOUD, 20)
    assert answer.answers == (BASE, None, BEST_FIRST[0])
    assert answer.errors == {1: error}


def test_an_event_nobody_answered_raises_the_first_devices_error() -> None:
    with pytest.raises(Overloaded, match="no device answered event 'a': device 0: no room, and 1 more failed"):
        joined("a", [None, None], {1: Unavailable("gone"), 0: Overloaded("no room")})
