"""Means and intervals."""

import pytest

from ddnn.drift import wilson
from ddnn_lab.studies.intervals import fold, spread


def test_several_values_get_students_t() -> None:
    measured = spread([1.0, 2.0, 3.0])
    half = 4.302653 / 3**0.5  # t at 97.5 % with two degrees of freedom; the deviation is 1
    assert measured["mean"] == 2.0
    assert (measured["low"], measured["high"]) == pytest.approx((2 - half, 2 + half), abs=1e-5)


def test_a_single_share_gets_wilsons_interval() -> None:
    assert wilson(0.97, 171) == pytest.approx((0.9332, 0.9868), abs=1e-3)
    assert spread([0.97], events=171)["low"] == pytest.approx(0.9332, abs=1e-3)
    assert spread([12.0]) == {"mean": 12.0, "low": None, "high": None, "values": [12.0]}


def test_wilsons_interval_holds_the_share_where_it_is_nothing_or_all() -> None:
    for events in range(1, 300):
        for share in (0.0, 1.0):
            low, high = wilson(share, events)
            assert low <= share <= high


def test_documents_are_folded_leaf_by_leaf() -> None:
    documents = [
        {"accuracy": [0.5, None], "rule": "majority", "bytes": {"up": 1}, "gone": 1},
        {"accuracy": [0.7, 0.1], "rule": "mean", "bytes": {"up": 3}, "gone": None},
    ]
    measured = fold(documents, events=10)
    assert measured["accuracy"][0]["mean"] == pytest.approx(0.6)
    assert measured["accuracy"][1] is None
    assert measured["bytes"]["up"]["values"] == [1.0, 3.0]
    assert measured["rule"] == "majority"
    assert measured["gone"] is None


def test_only_shares_of_right_answers_are_given_an_interval_of_events() -> None:
    measured = fold([{"accuracy": 0.5, "share": 0.5}], events=100)
    assert measured["accuracy"]["low"] is not None
    assert measured["share"]["low"] is None
