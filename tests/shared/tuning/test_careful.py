"""Upper exits that are no better are dropped, and few events still let exits answer."""

from dataclasses import replace

import numpy as np
import pytest

import made_scores
from ddnn.evaluation import Scores, decide
from ddnn.policy import Policy
from ddnn.tuning import Objective, Sample, choose
from ddnn.tuning.careful import careful_policy
from ddnn.tuning.guarantee import Risk, guarantee
from ddnn.types import Exit

POLICY = Policy(bundle="b")


def with_a_bad_cloud(events: int, edges: int = 1) -> Scores:
    """Scores whose cloud exit guesses, and whose edge exit is the local exit again."""
    scores = made_scores.make_scores(events, devices=4, edges=edges, strength=2)
    noise = np.random.default_rng(1).normal(size=scores.cloud.shape).astype(np.float32)
    return replace(scores, cloud=noise, edge=scores.local)


@pytest.mark.parametrize("edges", [1, 2])
@pytest.mark.parametrize("aim", [Objective(), Objective(0.0), Objective(None, max_cost=1e6)])
def test_exits_that_are_no_better_get_no_events(edges: int, aim: Objective) -> None:
    sample = Sample(with_a_bad_cloud(150, edges))
    policy = choose(sample, POLICY, aim).policy
    assert policy.tuned is not None
    assert policy.tuned["dropped"][-1] == "cloud"
    assert policy.thresholds.local == 1 or policy.thresholds.edge == 1
    assert sample.outcome(policy).share(Exit.CLOUD) == 0
    best = policy.tuned["best_exit"]["accuracy"]
    assert sample.outcome(policy).accuracy >= best - (aim.max_accuracy_drop or 0) - 1e-12


def test_a_guarantee_sends_nothing_to_exits_that_are_no_better() -> None:
    sample = Sample(with_a_bad_cloud(600))
    policy, evidence = guarantee(sample, POLICY, Risk(0.3))
    assert (evidence["best_exit"]["exit"], evidence["dropped"]) == ("local", ["edge", "cloud"])
    assert evidence["tested"][evidence["chosen"] - 1]["passed"]
    assert sample.outcome(policy).share(Exit.LOCAL) == 1
    better, evidence = guarantee(Sample(made_scores.make_scores(600, strength=2)), POLICY, Risk(0.05))
    assert (evidence["best_exit"]["exit"], evidence["dropped"], better.thresholds.edge < 1) == ("cloud", [], True)


def test_a_better_cloud_is_not_dropped_for_being_unused() -> None:
    policy = choose(Sample(made_scores.make_scores(150)), POLICY, Objective(0.5)).policy
    assert (policy.tuned or {})["dropped"] == []
    assert (policy.tuned or {})["best_exit"]["exit"] == "cloud"


@pytest.mark.parametrize("devices", [1, 3])
def test_few_events_make_a_policy_that_exits_early_without_a_loss(devices: int) -> None:
    scores = made_scores.make_scores(30, devices=devices, strength=2)
    policy = careful_policy(POLICY, scores.topology, Sample(scores))
    assert policy.temperatures != POLICY.temperatures
    decisions = decide(scores, policy)
    assert decisions.share(Exit.CLOUD) < 1
    assert decisions.accuracy(scores.y) >= (scores.labels(Exit.CLOUD) == scores.y).mean()


def test_an_exit_that_has_more_right_than_all_above_answers_everything() -> None:
    scores = with_a_bad_cloud(30)
    assert careful_policy(POLICY, scores.topology, Sample(scores)).thresholds.edge == 1


def test_without_events_every_exit_is_careful() -> None:
    topology = made_scores.make_topology(1, 1, section=True)
    thresholds = careful_policy(POLICY, topology, None).thresholds
    assert (thresholds.device, thresholds.local, thresholds.edge) == (0.25, 0, 0.25)
