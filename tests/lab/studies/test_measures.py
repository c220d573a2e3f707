"""What is measured of a network, on numbers that can be worked out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.data import load
from ddnn.errors import BadData
from ddnn.evaluation import Scores, record
from ddnn.evaluation.decide import exit_alone
from ddnn.export import sample_bundle, sample_data
from ddnn.network import NetworkConfig
from ddnn.task import uncertainty
from ddnn.tuning.calibration import auroc, reliability
from ddnn.types import Array, Exit
from ddnn_lab.studies.measures import confidence, majority_vote, mean_vote
from ddnn_lab.studies.subject import Subject, keep_scores, kept_scores


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
    measured = reliability(np.array([0.95, 0.95, 0.55, 0.55], np.float32), np.array([True, True, True, False]))
    assert measured["ece"] == pytest.approx(0.05)
    assert measured["bins"]["share"][9] == 0.5
    assert measured["bins"]["right"][5] == 0.5


def test_kept_scores_that_are_damaged_are_a_sentence(tmp_path: Path) -> None:
    sample_bundle(tmp_path / "bundle")
    keep_scores(Subject(tmp_path, sample_data(((4,),) * 3)))
    assert kept_scores(tmp_path, "test").present.shape[1] == 3
    (tmp_path / "scores-test.npz").write_bytes(b"PK")
    with pytest.raises(BadData, match=r"scores-test.npz cannot be read .* without scores.json beside it"):
        kept_scores(tmp_path, "test")


def test_of_several_edges_the_one_that_is_judged_is_as_sure_as_it_says(tmp_path: Path) -> None:
    shapes = ((4,),) * 3
    network = NetworkConfig(edges=((0, 1), (2,)))
    sample_bundle(tmp_path / "bundle", shapes, network=network)
    subject = Subject(tmp_path, sample_data(shapes))
    said = exit_alone(subject.test, subject.bundle.policy, Exit.EDGE)
    measured = confidence(subject)["edge"]
    assert measured["auroc"] == auroc(said.uncertainty, said.label == subject.test.y)
    assert np.allclose(uncertainty(subject.bundle.policy.criterion, said.probabilities), said.uncertainty)


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
