"""Exits chosen at random and by an oracle."""

from collections.abc import Callable

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.evaluation import NOBODY, Decisions, Scores, decide, record
from ddnn.evaluation.decide import exit_alone
from ddnn.policy import Judging, Policy, Thresholds
from ddnn.types import Exit
from ddnn_lab.studies.offload import oracle_exit, random_offload

MakeBundle = Callable[..., Bundle]
MakeData = Callable[..., Dataset]
TWO_EDGES = ((0, 2), (1,))


@pytest.fixture
def scores(make_bundle: MakeBundle, make_data: MakeData) -> Scores:
    return record(make_bundle(TWO_EDGES), make_data(200, hidden=0.3))


def decided(scores: Scores, **thresholds: float) -> tuple[Policy, Decisions]:
    policy = Policy(bundle="f" * 64, thresholds=Thresholds(**thresholds))
    return policy, decide(scores, policy)


def test_an_exit_alone_says_what_its_scores_say(make_bundle: MakeBundle, make_data: MakeData) -> None:
    scores = record(make_bundle(), make_data(80, hidden=0.3))
    policy, _ = decided(scores, local=0.3)
    # What it judges by when fewer take part does not matter either: nobody else answers.
    policy = policy.model_copy(update={"live": {2: Judging(thresholds=Thresholds(local=0.4, edge=0.9))}})
    assert scores.local is not None
    assert scores.edge is not None
    assert (exit_alone(scores, policy, Exit.LOCAL).label == scores.local[:, 0].argmax(axis=1)).all()
    assert (exit_alone(scores, policy, Exit.EDGE).label == scores.edge[:, 0].argmax(axis=1)).all()
    assert (exit_alone(scores, policy, Exit.CLOUD).label == scores.cloud.argmax(axis=1)).all()


def test_random_offload_is_the_mean_over_all_ways_to_offload(scores: Scores) -> None:
    policy, decisions = decided(scores, local=0.6, edge=0.6)
    shares = [decisions.share(exit) for exit in (Exit.LOCAL, Exit.EDGE, Exit.CLOUD)]
    assert min(shares) > 0.05
    rng, labels = np.random.default_rng(0), [exit_alone(scores, policy, exit).label for exit in Exit]
    drawn = [np.stack(labels)[rng.permutation(decisions.exit), np.arange(200)] == scores.y for _ in range(2000)]
    assert random_offload(scores, policy, decisions) == pytest.approx(np.mean(drawn), abs=0.003)


def test_random_offload_to_one_exit_is_that_exits_accuracy(scores: Scores) -> None:
    policy, decisions = decided(scores, local=0.0, edge=0.0)
    assert random_offload(scores, policy, decisions) == pytest.approx(decisions.accuracy(scores.y))


def test_the_oracle_is_right_where_any_exit_is_and_leaves_at_the_first_that_is(scores: Scores) -> None:
    policy, decisions = decided(scores)
    oracle = oracle_exit(scores, policy)
    right = {exit: exit_alone(scores, policy, exit).label == scores.y for exit in Exit}
    some = right[Exit.LOCAL] | right[Exit.EDGE] | right[Exit.CLOUD]
    assert oracle.accuracy(scores.y) == some.mean() >= decisions.accuracy(scores.y)
    assert oracle.share(Exit.LOCAL) == right[Exit.LOCAL].mean()
    assert oracle.share(Exit.EDGE) == (right[Exit.EDGE] & ~right[Exit.LOCAL]).mean()
    assert (oracle.exit[~some] == Exit.CLOUD.rank).all()


def test_the_device_exit_counts_where_devices_may_answer(scores: Scores) -> None:
    policy, _ = decided(scores)
    assert oracle_exit(scores, policy).share(Exit.DEVICE) == 0
    with_devices = oracle_exit(scores, decided(scores, device=0.5)[0])
    right = exit_alone(scores, policy, Exit.DEVICE).label == scores.y
    assert with_devices.share(Exit.DEVICE) == right.mean() > 0
    assert (with_devices.exit == oracle_exit(scores, policy, list(Exit)).exit).all()


def test_an_event_that_nobody_saw_is_wrong_for_everyone(make_bundle: MakeBundle, make_data: MakeData) -> None:
    data = make_data(60)
    data.present[:15] = False
    scores = record(make_bundle(TWO_EDGES), data)
    policy, decisions = decided(scores, local=0.0, edge=0.0)
    oracle = oracle_exit(scores, policy)
    assert (oracle.label[:15] == NOBODY).all()
    assert (oracle.exit[:15] == NOBODY).all()
    assert random_offload(scores, policy, decisions) == pytest.approx(decisions.accuracy(scores.y))
