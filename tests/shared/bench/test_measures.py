"""What is measured of a network, on numbers that can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from ddnn.bench.measures.confidence import auroc, reliability
from ddnn.bench.measures.votes import majority_vote, mean_vote
from ddnn.bundle import Bundle
from ddnn.data import load
from ddnn.evaluation import Scores, record
from ddnn.types import Array


def test_auroc_is_one_when_every_wrong_answer_is_less_sure() -> None:
    unsure, right = np.array([0.1, 0.2, 0.7, 0.9], np.float32), np.array([True, True, False, False])
    assert auroc(unsure, right) == 1.0
    assert auroc(-unsure, right) == 0.0


def test_auroc_counts_ties_half_and_is_none_where_nothing_is_wrong() -> None:
    right = np.array([True, False, True, False])
    assert auroc(np.array([0.5, 0.5, 0.5, 0.5], np.float32), right) == 0.5
    assert auroc(np.array([0.1, 0.1, 0.1, 0.3], np.float32), right) == 0.75
    assert auroc(np.zeros(2, np.float32), np.ones(2, bool)) is None


def test_calibration_error_is_the_distance_of_confidence_and_accuracy() -> None:
    told = reliability(np.array([0.95, 0.95, 0.55, 0.55], np.float32), np.array([True, True, True, False]))
    assert told["ece"] == pytest.approx(0.05)
    assert told["bins"]["share"][9] == 0.5
    assert told["bins"]["right"][5] == 0.5


@pytest.fixture
def scores(tiny_bundle: Bundle) -> Scores:
    return record(tiny_bundle, load("synthetic", seed=3).take(range(2)))


def vote_of(scores: Scores, labels: Array, present: Array | None = None) -> Scores:
    device = 4 * np.eye(scores.cloud.shape[1], dtype=np.float32)[labels]
    return replace(scores, device=device, present=scores.present if present is None else present)


def test_most_labels_win_and_equals_are_settled_by_probability(scores: Scores, tiny_bundle: Bundle) -> None:
    given = vote_of(scores, np.array([[0, 0, 0, 1, 1, 2], [0, 0, 0, 1, 1, 1]]))
    assert given.device is not None
    given.device[1, 5] *= 2
    assert majority_vote(given, tiny_bundle.policy).tolist() == [0, 1]


def test_who_is_absent_does_not_vote(scores: Scores, tiny_bundle: Bundle) -> None:
    present = np.ones((2, 6), bool)
    present[:, :3] = False
    given = vote_of(scores, np.array([[0, 0, 0, 1, 2, 2]] * 2), present)
    assert majority_vote(given, tiny_bundle.policy).tolist() == [2, 2]
    assert mean_vote(given, tiny_bundle.policy).tolist() == [2, 2]
