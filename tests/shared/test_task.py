"""Classification: what scores say."""

import numpy as np

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.task import CLASSIFICATION, TASKS, entropy, probabilities


def test_a_label_is_the_class_with_the_highest_score() -> None:
    scores = np.array([[[0, 2, 1], [3, 2, 1]]], np.float32)
    assert CLASSIFICATION.labels(scores).tolist() == [[1, 0]]
    assert CLASSIFICATION.labels(probabilities(scores)).tolist() == [[1, 0]]


def test_right_is_the_same_class_and_never_no_label() -> None:
    assert CLASSIFICATION.right(np.array([1, 0, -1]), np.array([1, 2, -1])).tolist() == [True, False, False]


def test_probabilities_and_uncertainty_are_those_of_the_exits() -> None:
    scores = np.array([[0.5, 1.0]], np.float32)
    p = CLASSIFICATION.probabilities(scores, 2.0)
    assert (p == probabilities(scores, 2.0)).all()
    assert CLASSIFICATION.uncertainty("entropy", p) == entropy(p)


def test_a_bundle_names_its_task() -> None:
    assert Bundle.open(shipped_bundle()).task is TASKS["classification"] is CLASSIFICATION
