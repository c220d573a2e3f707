"""AUROC and ECE, small enough to count by hand."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ddnn.evaluation.decide import judge_all
from ddnn.policy import Policy
from ddnn.tuning.calibration import auroc, calibration, reliability
from made_scores import make_scores


def test_auroc_is_that_of_scikit_learn_ties_and_all() -> None:
    rng = np.random.default_rng(0)
    unsure = rng.integers(6, size=200).astype(np.float32)
    right = rng.random(200) < 0.8 - unsure / 20
    assert auroc(unsure, right) == pytest.approx(roc_auc_score(~right, unsure))


def test_auroc_has_nothing_to_say_where_all_answers_are_right() -> None:
    assert auroc(np.zeros(3, np.float32), np.ones(3, np.bool_)) is None


def test_ece_by_hand() -> None:
    found = reliability(np.array([0.95, 0.95, 0.55, 0.55], np.float32), np.array([True, True, True, False]))
    assert found["ece"] == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)
    assert found["bins"]["share"][9] == 0.5


def test_every_exit_is_judged_and_a_device_only_on_what_it_sees() -> None:
    scores = make_scores(100, devices=3)
    scores.y_dev[:60, 0] = -1
    found = calibration(scores, judge_all(scores, Policy(bundle="b")))
    assert {name: told["answers"] for name, told in found.items()} == {
        "device": 240,
        "local": 100,
        "edge": 100,
        "cloud": 100,
    }
    assert found["cloud"]["auroc"] > 0.5
