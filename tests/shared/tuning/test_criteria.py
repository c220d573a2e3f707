"""Criteria compared: fair to all, and entropy unless another is clearly better."""

from dataclasses import replace

import numpy as np
import pytest

from ddnn.errors import BadData, BadInput
from ddnn.evaluation import Scores
from ddnn.policy import Policy
from ddnn.task import CRITERIA
from ddnn.tuning.cost import CostModel, Offload
from ddnn.tuning.criteria import area, compare_criteria, criterion_of
from ddnn.tuning.sample import Sample, ask
from ddnn.types import Array
from made_scores import CLASSES, make_scores

POLICY = Policy(bundle="b")


class Flat(CostModel):
    """An event costs 1 at the local exit, 3 at the edge, 4 in the cloud."""

    def at_exits(self, scores: Scores, offload: Offload) -> Array:
        return np.tile([1.0, 3.0, 4.0], (len(scores), 1))


def compared(validation: Scores, test: Scores) -> dict[str, object]:
    return compare_criteria({"validation": Sample(validation, Flat()), "test": Sample(test, Flat())}, POLICY)


def where_votes_tell(events: int, seed: int) -> Scores:
    """The local exit is as sure when it is wrong as when it is right; only the devices' votes tell which it is."""
    scores, rng = make_scores(events, devices=4, seed=seed), np.random.default_rng(seed)
    right = rng.random(events) < 0.7
    label = np.where(right, scores.y, (scores.y + 1) % CLASSES)
    sure = rng.uniform(1, 5, size=(events, 1, 1))
    votes = np.where(right[:, None], label[:, None], rng.integers(CLASSES, size=(events, 4)))
    alike = (np.eye(CLASSES)[label][:, None] * sure).astype(np.float32)
    cloud = (9 * np.eye(CLASSES)[scores.y]).astype(np.float32)
    return replace(scores, device=np.eye(CLASSES, dtype=np.float32)[votes], local=alike, edge=alike, cloud=cloud)


def test_entropy_stays_where_no_other_is_clearly_better() -> None:
    told = compared(make_scores(400), make_scores(300, seed=1))
    assert (told["chosen"], told["default"]) == ("entropy", "entropy")
    assert told["events"] == {"validation": 400, "test": 300}


def test_votes_are_chosen_where_they_alone_tell_right_from_wrong() -> None:
    told = compared(where_votes_tell(400, 0), where_votes_tell(400, 1))
    assert told["chosen"] == "agreement"
    of = told["criteria"]
    assert isinstance(of, dict)
    assert set(of) == set(CRITERIA)
    assert of["agreement"]["gain"]["low"] > 0
    assert of["agreement"]["test"]["area"] > of["entropy"]["test"]["area"] + 0.02
    assert of["agreement"]["test"]["calibration"]["local"]["auroc"] > 0.9
    assert of["entropy"]["test"]["calibration"]["local"]["auroc"] == pytest.approx(0.5, abs=0.1)
    assert of["entropy"]["gain"] == {"area": 0, "low": 0, "high": 0}


def test_the_comparison_is_the_same_twice() -> None:
    scores = make_scores(120), make_scores(80, seed=1)
    assert compared(*scores) == compared(*scores)


def test_an_area_by_hand() -> None:
    # Four events, all right in the cloud for 4, half of them right at the local exit for 1: from 1/2 to 1, evenly.
    scores = make_scores(4, section=False)
    assert scores.local is not None
    label = np.array([0, 0, 1, 1])
    told = replace(
        scores,
        y=np.array([0, 1, 1, 0]),
        local=np.eye(CLASSES, dtype=np.float32)[label][:, None],
        cloud=np.eye(CLASSES, dtype=np.float32)[[0, 1, 1, 0]],
    )
    costs = np.tile([1.0, 4.0], (4, 1))
    assert area(np.array([[2.0], [0.0]]), ask(told, POLICY), told.y, costs) == pytest.approx(0.75)


def test_an_unknown_criterion_is_refused_and_none_is_the_policys_own() -> None:
    assert criterion_of(None, Policy(bundle="b", criterion="margin")) == "margin"
    assert criterion_of("agreement", POLICY) == "agreement"
    with pytest.raises(BadInput, match="criterion is 'luck'; expected one of auto, entropy"):
        criterion_of("luck", POLICY)


def test_too_few_events_to_compare_on_are_refused() -> None:
    with pytest.raises(BadData, match="49 events"):
        compared(make_scores(49), make_scores(60))
