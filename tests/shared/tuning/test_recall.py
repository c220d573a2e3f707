"""Limits on the recall of classes, and balanced accuracy, which no rare class is sold under."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

import made_scores
from ddnn.errors import BadInput, Infeasible
from ddnn.evaluation import Scores
from ddnn.policy import Policy
from ddnn.tuning import Objective, Sample, choose, frontier_search, points
from ddnn.tuning.frontier import Limits, best, frontier
from ddnn.tuning.guarantee import Risk, guarantee, halves
from ddnn.tuning.promise import p_value
from ddnn.tuning.recall import parse_recalls
from ddnn.types import Array, Ints

POLICY = Policy(bundle="b")
NAMES = ("common", "seldom", "rare", "never")
Given = tuple[Array, Array, Array, Ints]


@pytest.fixture(autouse=True)
def few_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier_search, "_FIRST", 8)
    monkeypatch.setattr(frontier_search, "_BLOCK", 16)
    monkeypatch.setattr(points, "PLAYS", 400)


def given(seed: int, events: int = 12) -> Given:
    """Criteria, right answers and costs of two exits and the cloud, and classes."""
    rng = np.random.default_rng(seed)
    criteria = (rng.integers(0, 8, size=(events, 2)) / np.float32(7)).astype(np.float32)
    right = rng.random((events, 3)) < [0.6, 0.75, 0.9]
    costs = rng.choice([0.0, 1.0, 2.5, 7.3], size=(events, 3)).cumsum(axis=1)
    return criteria, right, costs, rng.choice(3, size=events, p=[0.6, 0.3, 0.1])


def played(events: Given) -> Iterator[tuple[Ints, float]]:
    """Wrong answers by class, and cost, of every combination of thresholds."""
    criteria, right, costs, y = events
    options = [np.append(np.unique(column[column < 1]).astype(np.float64), 1.0) for column in criteria.T]
    for thresholds in product(*options):
        sure = np.concatenate([criteria.astype(np.float64) < thresholds, np.ones((len(y), 1), np.bool_)], axis=1)
        exit, rows = sure.argmax(axis=1), np.arange(len(y))
        yield np.bincount(y[~right[rows, exit]], minlength=3), round(float(costs[rows, exit].sum()), 9)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("weights", [None, (1, 3, 7)])
def test_the_frontier_within_limits_on_classes_is_that_of_what_is_allowed(
    seed: int, weights: tuple[int, ...] | None
) -> None:
    events, caps = given(seed), {0: 2, 2: 0}
    counts = np.array(weights or (1, 1, 1))
    allowed = {
        (int(counts @ wrong), cost) for wrong, cost in played(events) if all(wrong[k] <= n for k, n in caps.items())
    }
    expected = sorted(p for p in allowed if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in allowed))[::-1]
    (criteria, right, costs, y), limits, counted = events, Limits(classes=caps), None if weights is None else counts
    found = frontier(criteria, right, costs, limits, y=y, weights=counted)
    assert found.exact
    assert list(zip(found.wrong.tolist(), found.cost.round(9).tolist(), strict=True)) == expected
    one = best(criteria, right, costs, limits, "wrong", y=y, weights=counted)
    assert one.wrong.tolist() == [point[0] for point in expected[-1:]]


def imbalanced(events: int = 1_000, edges: int = 1, seed: int = 0) -> Scores:
    """Classes of 94, 5 and 1 % of the events; the local exit is sure that the rare ones are common, as is the cloud."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, size=events, p=[0.94, 0.05, 0.01])
    scores = made_scores.make_scores(events, devices=4, edges=edges, seed=seed)

    def at(skill: float, rare: float) -> Array:
        held = np.where(y == 2, rng.choice([0, 2], size=events, p=[1 - rare, rare]), y)
        noise = rng.normal(size=(events, edges, 4)) - [0, 0, 0, 9]
        return np.asarray(noise + 6 * skill * np.eye(4)[held][:, None], np.float32)

    local, edge, cloud = at(1, 0.4), at(1.2, 1), at(1.5, 0.7)[:, 0]
    return replace(scores, y=y, y_dev=np.repeat(y[:, None], 4, axis=1), local=local, edge=edge, cloud=cloud)


@pytest.mark.parametrize("edges", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_rare_class_is_kept_where_an_exit_can(edges: int) -> None:
    sample = Sample(imbalanced(edges=edges), names=NAMES)
    plain = choose(sample, POLICY).policy
    assert (sample.by_class(plain)["recall"][2] or 0) < 0.9  # of all events it is nothing
    kept = choose(sample, POLICY, Objective(min_recall={2: 0.95})).policy
    told = sample.by_class(kept)
    assert told["recall"][2] >= 0.95
    assert told["names"] == list(NAMES)
    outcome, tuned = sample.outcome(kept), kept.tuned or {}
    assert outcome.accuracy >= tuned["best_exit"]["accuracy"] - 0.005
    assert (tuned["objective"]["min_recall"], tuned["unmet"]) == ({"rare": 0.95}, [])
    every = choose(sample, POLICY, Objective(min_recall={None: 0.95, 1: 0.9})).policy
    recall = sample.by_class(every)["recall"]
    assert recall[3] is None
    assert (recall[0] >= 0.95, recall[1] >= 0.9, recall[2] >= 0.95) == (True, True, True)


def test_what_no_exit_can_keep_is_said_with_the_best_there_is() -> None:
    scores = imbalanced()
    assert scores.edge is not None
    scores.edge[scores.y == 2, :, 0] += 9  # all exits take some rare events for common ones
    sample, aim = Sample(scores, names=NAMES), Objective(min_recall={1: 0.9, 2: 0.95})
    with pytest.raises(Infeasible, match=r"recall of class rare is [\d.]+ % of \d+ validation events at best") as told:
        choose(sample, POLICY, aim)
    near = {each["without"]: each for each in told.value.nearest}["recall"]
    closest = choose(sample, POLICY, aim, closest=True).policy
    (missed,) = (closest.tuned or {})["unmet"]
    recall = sample.by_class(closest)["recall"]
    assert (missed["class"], missed["asked"], missed["reached"]) == ("rare", 0.95, recall[2])
    assert near["recall"] == {"seldom": recall[1], "rare": recall[2]}
    assert recall[1] >= 0.9  # the class that can be kept is
    assert recall[2] <= missed["exit_recall"] < 0.95
    assert recall[2] >= sample.by_class(choose(sample, POLICY).policy)["recall"][2]
    json.dumps(closest.model_dump(mode="json"))


def test_what_a_dozen_events_keep_is_kept_on_others_too() -> None:
    recall = []
    for seed in range(12):
        sample, other = (Sample(imbalanced(1_000, seed=n), names=NAMES) for n in (seed, 100 + seed))
        policy = choose(sample, POLICY, Objective(min_recall={2: 0.95})).policy
        recall.append(other.by_class(policy)["recall"][2])
    assert np.mean(recall) >= 0.95


def test_a_class_that_is_out_of_reach_takes_no_other_along() -> None:
    scores = imbalanced()
    flip = np.arange(len(scores)) % 2 == 0
    for exit in (scores.local, scores.edge, scores.cloud[:, None]):
        assert exit is not None
        exit[scores.y == 2, :, 0] += 20  # no exit knows the rare class
        exit[(scores.y == 1) & flip, :, 0] += 20  # nor half of the other
    sample, aim = Sample(scores, names=NAMES), Objective(min_recall={1: 0.9, 2: 0.95})
    policy = choose(sample, POLICY, aim, closest=True).policy
    reached, cloud = sample.by_class(policy)["recall"], sample.by_class(policy)["exits"]["cloud"]
    assert reached[1] == cloud[1] > 0.3
    assert [each["class"] for each in (policy.tuned or {})["unmet"]] == ["seldom", "rare"]


@pytest.mark.parametrize("edges", [1, 2])
def test_balanced_accuracy_is_held_against_that_of_the_best_exit(edges: int) -> None:
    sample = Sample(imbalanced(edges=edges), names=NAMES)
    policy = choose(sample, POLICY, Objective(balanced=True)).policy
    tuned = policy.tuned or {}
    assert tuned["best_exit"]["exit"] == "edge"
    assert sample.by_class(policy)["balanced_accuracy"] >= tuned["best_exit"]["balanced_accuracy"] - 0.0051
    assert sample.by_class(choose(sample, POLICY).policy)["balanced_accuracy"] < 0.95
    budget = Objective(None, max_cost=sample.outcome(policy).cost, balanced=True)
    again = choose(sample, POLICY, budget).policy
    assert sample.by_class(again)["balanced_accuracy"] >= sample.by_class(policy)["balanced_accuracy"] - 1e-3


def test_recalls_are_named_by_class_or_number_or_for_all() -> None:
    assert parse_recalls(["0.9", "rare=0.95", "1=0.5"], NAMES) == {None: 0.9, 2: 0.95, 1: 0.5}
    assert parse_recalls(["a=b=0.5"], ["a=b", "c"]) == {0: 0.5}
    for bad, sentence in (
        ("rare", "min-recall is 'rare'"),
        ("moon=0.5", "names class 'moon'; the classes are common"),
        ("9=0.5", "names class '9'"),
    ):
        with pytest.raises(BadInput, match=sentence):
            parse_recalls([bad], NAMES)
    with pytest.raises(BadInput, match="given twice"):
        parse_recalls(["rare=0.5", "2=0.6"], NAMES)
    with pytest.raises(BadInput, match=r"min_recall of class 2 is 1\.5"):
        Objective(min_recall={2: 1.5})
    with pytest.raises(BadInput, match="min_recall names class never; expected one that has events to tune on"):
        choose(Sample(imbalanced(), names=NAMES), POLICY, Objective(min_recall={3: 0.5}))


def test_a_guarantee_covers_the_recall_of_classes_as_far_as_their_events_go() -> None:
    sample = Sample(imbalanced(6_000), names=NAMES)
    policy, evidence = guarantee(sample, POLICY, Risk(0.02, 0.9, min_recall={2: 0.9}))
    testing = sample.take(halves(6_000, 0.3, 0)[1])
    missed = int((testing.decisions(policy).label != 2)[testing.scores.y == 2].sum())
    events = int(testing.class_events[2])
    assert p_value(missed, events, 0.1) <= 0.1
    assert evidence["min_recall"] == {"rare": 0.9}
    assert evidence["p_value"] >= p_value(missed, events, 0.1)
    assert policy.promise is not None
    kept = policy.promise.recall[2]
    assert (kept.events, kept.least >= 0.9) == (events, True)
    assert kept.missed <= 0.5
    with pytest.raises(
        Infeasible, match=r"of class rare with confidence 0.9 needs 45 testing events .* can show is 0\."
    ):
        guarantee(Sample(imbalanced(2_000), names=NAMES), POLICY, Risk(0.02, 0.9, min_recall={2: 0.95}))
    with pytest.raises(
        Infeasible, match=r"on the learning part no thresholds keep a recall of at least 90 % of class rare"
    ):
        guarantee(Sample(without_the_edge(sample.scores), names=NAMES), POLICY, Risk(0.02, 0.9, min_recall={2: 0.9}))
    with pytest.raises(BadInput, match="without labels"):
        Risk(0.02, labelled=False, min_recall={2: 0.9})
    with pytest.raises(BadInput, match="no events show a recall of 1"):
        Risk(0.02, min_recall={2: 1.0})


def without_the_edge(scores: Scores) -> Scores:
    """The edge exit says what the cloud says, which knows less of the rare class."""
    return replace(scores, edge=scores.cloud[:, None])
