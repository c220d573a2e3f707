"""What a policy promises of its own accord."""

import numpy as np
import pytest
from scipy.stats import beta

from ddnn.bundle import Bundle
from ddnn.data import load
from ddnn.drift import others
from ddnn.evaluation import decide, record
from ddnn.policy import Policy, Thresholds
from ddnn.tuning.promise import promise
from ddnn.types import Exit
from made_scores import make_scores


@pytest.mark.parametrize("edges", [1, 2])
def test_the_bound_on_disagreement_is_that_of_the_answers_served(edges: int) -> None:
    scores = make_scores(300, devices=4, edges=edges)
    policy = Policy(bundle="b", thresholds=Thresholds(local=0.4, edge=0.5))
    told, answers = promise(scores, policy, 0.9), decide(scores, policy)
    assert set(told.disagreement) == {Exit.LOCAL, Exit.EDGE}
    for exit, bound in told.disagreement.items():
        mine = answers.exit == exit.rank
        differ = int((answers.label != scores.cloud.argmax(axis=1))[mine].sum())
        assert bound == pytest.approx(beta.ppf(0.9, differ + 1, mine.sum() - differ), abs=1e-6)
    assert (told.confidence, told.events, told.risk) == (0.9, 300, None)


def test_what_was_usual_adds_up() -> None:
    told = promise(make_scores(300), Policy(bundle="b", thresholds=Thresholds(local=0.4, edge=0.5)))
    assert sum(usual.share for usual in told.usual.values()) == pytest.approx(1)
    assert all(sum(usual.confidence) == pytest.approx(1) for usual in told.usual.values())


def test_an_exit_that_answers_nothing_promises_nothing() -> None:
    told = promise(make_scores(80), Policy(bundle="b", thresholds=Thresholds(local=0, edge=0)))
    assert told.disagreement == {}
    assert np.isclose(told.usual[Exit.CLOUD].share, 1)


@pytest.mark.parametrize("edges", [1, 2])
def test_the_recall_of_a_class_is_promised_as_far_as_its_events_go(edges: int) -> None:
    scores = make_scores(300, devices=4, edges=edges, strength=2)
    policy = Policy(bundle="b", thresholds=Thresholds(local=0.4, edge=0.5))
    made, answers = promise(scores, policy, 0.9, classes=[1, 3]), decide(scores, policy)
    assert set(made.recall) == {1, 3}
    for index, kept in made.recall.items():
        own, cloud = scores.y == index, scores.cloud.argmax(axis=1) == index
        audited = cloud & (answers.exit < Exit.CLOUD.rank)
        assert kept.events == own.sum()
        assert kept.least < (answers.label[own] == index).mean()
        assert kept.missed > (answers.label[audited] != index).mean()
    few = promise(scores.take(np.flatnonzero(scores.y == 1)[:5]), policy, 0.9, classes=[1])
    assert few.recall[1].least < 0.7  # five events show little


def test_how_often_a_device_contradicts_the_others_is_bounded_by_class(tiny_bundle: Bundle) -> None:
    scores = record(tiny_bundle, load("synthetic", seed=3).subset("validation"))
    dissent = np.array(promise(scores, tiny_bundle.policy).dissent)
    assert scores.device is not None
    them, said = others(scores.device, scores.present), scores.labels(Exit.DEVICE)
    assert dissent.shape == (*said.shape[1:], scores.classes)
    for device, k in np.ndindex(*dissent.shape):
        rows = them[:, device] == k
        share = float((said[rows, device] != k).mean()) if rows.any() else 1.0
        assert share <= dissent[device, k] <= 1
        assert dissent[device, k] > share or share == 1
