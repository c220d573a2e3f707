"""A promised risk: what is tested, in which order, when it is refused, and whether it holds."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from ddnn.data.split import watched
from ddnn.errors import BadData, BadInput, Infeasible
from ddnn.evaluation import Scores, decide
from ddnn.policy import Judging, Policy, Thresholds
from ddnn.tuning.cost import CostModel, Offload
from ddnn.tuning.criteria import compare_criteria
from ddnn.tuning.guarantee import Risk, climb, guarantee, halves, ladder
from ddnn.tuning.sample import Sample, ask
from ddnn.types import Array, Exit
from made_scores import CLASSES, make_scores

POLICY = Policy(bundle="b", version=7)


class ToCloud(CostModel):
    """An event costs 1 if it reaches the cloud."""

    def at_exits(self, scores: Scores, offload: Offload = "staged") -> Array:
        costs = np.zeros((len(scores), 3 if scores.edge is not None else 2))
        costs[:, -1] = 1
        return costs


def promised(scores: Scores, risk: float, *, policy: Policy = POLICY, **how: Any) -> tuple[Policy, dict[str, Any]]:
    asked_for = Risk(risk, **{key: how.pop(key) for key in ("confidence", "labelled") if key in how})
    return guarantee(Sample(scores, ToCloud()), policy, asked_for, **how)


def test_climbing_stops_at_the_first_point_that_fails() -> None:
    # 0.9 ** 30 = 0.042 and P(Bin(30, 0.1) ≤ 1) = 0.184, by hand.
    rungs = climb([0, 0, 1, 0], 30, 0.1, 0.95)
    assert [(rung.losses, rung.passed) for rung in rungs] == [(0, True), (0, True), (1, False)]
    assert [rung.p_value for rung in rungs] == pytest.approx([0.9**30, 0.9**30, 0.9**30 + 30 * 0.1 * 0.9**29])


def test_the_parts_share_no_event_and_leave_none_out() -> None:
    learn, test = halves(101, 0.3, 5)
    assert (len(learn), len(test)) == (30, 71)
    assert sorted([*learn, *test]) == list(range(101))
    assert np.array_equal(halves(101, 0.3, 5)[0], learn)
    assert not np.array_equal(halves(101, 0.3, 6)[0], learn)


def test_what_the_network_was_chosen_on_does_not_test_where_the_learning_part_has_room_for_it() -> None:
    learn, test = halves(101, 0.3, 5, np.arange(0, 101, 4))
    assert (len(learn), len(test)) == (30, 71)
    assert set(range(0, 101, 4)) <= set(learn.tolist())
    assert np.array_equal(np.sort([*learn, *test]), np.arange(101))
    assert np.array_equal(halves(101, 0.3, 5, np.arange(31))[0], halves(101, 0.3, 5)[0])


def test_the_evidence_counts_testing_events_that_the_network_was_chosen_on() -> None:
    scores = make_scores(400, strength=2)
    for seen, tested in ((watched(100), 0), (watched(400), 280)):
        assert promised(scores, 0.05, seen=seen)[1]["events"]["seen"] == tested


def test_the_ladder_starts_gently_and_loses_more_the_cheaper_it_gets() -> None:
    asked = ask(scores := make_scores(400), POLICY)
    steps = ladder(asked, ToCloud().at_exits(scores), scores.y)
    losses = asked.losses(scores.y)
    reached = asked.reached(steps)
    lost = losses[np.arange(400), reached].sum(axis=1)
    up = (reached == 2).mean(axis=1)
    assert (np.diff(lost) >= 0).all()
    assert (np.diff(up) <= 0).all()
    assert (lost[:9] == 0).all()
    assert up[0] > 1 - (1 - up[9]) / 5


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize(("devices", "edges", "section"), [(2, 1, True), (2, 1, False), (1, 1, True), (4, 2, True)])
def test_the_losses_in_the_evidence_are_those_of_the_answers_served(
    devices: int, edges: int, section: bool, labelled: bool
) -> None:
    scores = make_scores(600, devices=devices, edges=edges, section=section, strength=2)
    chosen, evidence = promised(scores, 0.05, labelled=labelled)
    held = scores.take(halves(600, 0.3, 0)[1])
    answers, cloud = decide(held, chosen), held.cloud.argmax(axis=1)
    lost = (answers.label != cloud) & ((cloud == held.y) | (not labelled))
    assert evidence["losses"] == lost.sum()
    assert evidence["p_value"] == pytest.approx(binom.cdf(lost.sum(), 420, 0.05))
    assert evidence["p_value"] <= 0.05
    assert answers.share(Exit.CLOUD) < 1


def test_the_policy_carries_the_promise_and_the_evidence_its_tests() -> None:
    scores = make_scores(400, strength=2)
    before = POLICY.model_copy(update={"live": {1: Judging()}})
    chosen, evidence = promised(scores, 0.05, policy=before, confidence=0.9)
    assert chosen.promise is not None
    assert (chosen.version, chosen.live) == (8, {})
    assert (chosen.promise.risk, chosen.promise.confidence, chosen.promise.loss) == (0.05, 0.9, "accuracy")
    assert chosen.promise.events == 280
    assert evidence["events"] == {"learning": 120, "testing": 280, "fewest": 45, "seen": 0}
    passed = [each for each in evidence["tested"] if each["passed"]]
    assert passed == evidence["tested"][: len(passed)]
    assert len(evidence["tested"]) - len(passed) <= 1
    assert Thresholds(**passed[-1]["thresholds"]) == chosen.thresholds


def test_without_labels_no_label_is_looked_at() -> None:
    scores = make_scores(300, strength=2)
    blind = replace(scores, y=np.zeros_like(scores.y), y_dev=np.zeros_like(scores.y_dev))
    seen, unseen = (promised(each, 0.1, labelled=False)[0] for each in (scores, blind))
    assert seen == unseen
    assert seen.promise is not None
    assert seen.promise.loss == "disagreement"


def test_the_criterion_is_chosen_on_the_learning_part_alone() -> None:
    scores = make_scores(400, strength=2)
    learn, _ = halves(400, 0.3, 0)
    alone = compare_criteria({"validation": Sample(scores.take(learn), ToCloud())}, POLICY)
    chosen, evidence = promised(scores, 0.1, criterion="auto")
    assert chosen.criterion == evidence["criterion"] == alone["chosen"]
    assert promised(scores, 0.1, criterion="margin")[0].criterion == "margin"
    with pytest.raises(BadInput, match="'auto' without labels"):
        promised(scores, 0.1, criterion="auto", labelled=False)


def test_too_few_events_are_refused_with_how_many_would_do() -> None:
    scores = make_scores(200)
    with pytest.raises(
        Infeasible,
        match=r"needs 299 testing events without a single loss, so 428 events in all; .* they can show is 0.0212",
    ) as no:
        promised(scores, 0.01)
    assert no.value.exit_code == 3
    assert math.ceil(math.log(0.05) / math.log(0.99)) == 299
    assert len(halves(428, 0.3, 0)[1]) >= 299


def exit_that_never_doubts(scores: Scores, wrong: int) -> Scores:
    """The exits below the cloud are wholly sure of all they say, and wrong in one event in `wrong`."""
    label = scores.cloud.argmax(axis=1)
    label = np.where(np.arange(len(scores)) % wrong, label, (label + 1) % CLASSES)
    alike = 1e4 * np.eye(CLASSES, dtype=np.float32)[label][:, None]
    return replace(scores, local=alike, edge=alike, y=scores.cloud.argmax(axis=1))


def test_losses_that_more_events_would_bear_are_refused_with_how_many() -> None:
    scores = exit_that_never_doubts(make_scores(400), wrong=50)
    with pytest.raises(Infeasible, match=r"lose \d+ of 280 testing events, .* about [\d,]+ events in all would do"):
        promised(scores, 0.025)


def test_losses_above_the_risk_are_refused_however_many_events() -> None:
    scores = exit_that_never_doubts(make_scores(400), wrong=10)
    with pytest.raises(Infeasible, match="more events would not help"):
        promised(scores, 0.02)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, math.nan, math.inf])
@pytest.mark.parametrize("name", ["risk", "confidence"])
def test_a_risk_or_confidence_that_is_no_share_is_refused(name: str, value: float) -> None:
    asked: dict[str, Any] = {"risk": 0.1, "confidence": 0.9, name: value}
    with pytest.raises(BadInput, match=f"{name} is {value}"):
        Risk(**asked)


def test_what_cannot_be_tuned_on_is_refused() -> None:
    few, same, broken = make_scores(49), make_scores(60), make_scores(60)
    same.y[:] = 1
    broken.cloud[3, 0] = np.nan
    for scores, said in ((few, "49 events"), (same, "of class 1"), (broken, "cloud is not finite in row 3")):
        with pytest.raises(BadData, match=said):
            promised(scores, 0.1)


@pytest.mark.parametrize("risk", [0.05, 0.1])
def test_promises_are_broken_no_more_often_than_said(risk: float) -> None:
    pool = make_scores(20_000, seed=1, strength=1.5)
    asked = ask(pool, POLICY)
    losses, costs = asked.losses(pool.y), ToCloud().at_exits(pool)
    rng, draws, confidence, broken, useful = np.random.default_rng(2), 150, 0.8, 0, 0
    for draw in range(draws):
        drawn = rng.integers(len(pool), size=300)
        learn, test = (drawn[part] for part in halves(300, 0.3, draw))
        steps = ladder(asked.take(learn), costs[learn], pool.y[learn])
        lost = losses[test, asked.take(test).reached(steps)].sum(axis=1)
        if passed := sum(rung.passed for rung in climb(lost.tolist(), len(test), risk, confidence)):
            reached = asked.reached(steps[passed - 1 : passed])[0]
            broken += bool(losses[np.arange(len(pool)), reached].mean() > risk)
            useful += 1
    assert useful > 100
    assert broken <= binom.ppf(0.999, draws, 1 - confidence)
