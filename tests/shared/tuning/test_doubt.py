"""Exits above have the benefit of the doubt: they lose their events only where validation is sure enough."""

from dataclasses import replace

import numpy as np
import pytest

from ddnn.policy import Policy
from ddnn.tuning import Objective, Sample, choose
from ddnn.tuning.doubt import reference, sees
from ddnn.types import Bools, Exit
from made_scores import make_scores

LOCAL, EDGE, CLOUD = range(3)


def right(*hits: int, events: int = 100, apart: int = 0) -> Bools:
    """(N, exits): so many of `events` are right at each exit; those of the first begin `apart` events later."""
    columns = [np.roll(np.arange(events) < count, apart if place == 0 else 0) for place, count in enumerate(hits)]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(
    ("hits", "apart", "held"),
    [
        ((58, 55, 57), 20, EDGE),  # what chance alone could make: the edge sees more, the cloud no more than that
        ((58, 30, 57), 20, CLOUD),
        ((90, 55, 57), 0, LOCAL),
        ((50, 70, 70), 0, EDGE),
        ((50, 60, 70), 0, CLOUD),
        ((100, 100, 100), 0, EDGE),
    ],
)
def test_an_exit_that_sees_more_is_held_against_unless_it_is_surely_worse(
    hits: tuple[int, int, int], apart: int, held: int
) -> None:
    assert reference(right(*hits, apart=apart), np.ones(100, np.int64), [0, 1, 1], 1.0) == held


def test_without_doubt_it_is_the_best_alone() -> None:
    assert reference(right(58, 55, 57, apart=20), np.ones(100, np.int64), [0, 1, 1], 0.0) == LOCAL


def test_a_cloud_sees_more_than_an_edge_where_there_are_several_of_these_or_it_takes_views() -> None:
    one, two = (make_scores(40, edges=edges).topology for edges in (1, 2))
    exits = (Exit.LOCAL, Exit.EDGE, Exit.CLOUD)
    assert sees(one, exits) == [0, 1, 1]
    assert sees(two, exits) == [0, 1, 2]
    assert sees(one, (Exit.LOCAL, Exit.CLOUD)) == [0, 2]


@pytest.mark.parametrize("edges", [1, 2])
def test_what_is_lost_by_it_is_no_more_than_asked_with_its_error(edges: int) -> None:
    scores = make_scores(400, edges=edges)
    sample = Sample(scores)
    policy = choose(sample, Policy(bundle="b" * 64), Objective(0.02), doubt=1.0).policy
    plain = choose(sample, Policy(bundle="b" * 64), Objective(0.02)).policy
    exits = (*sample.asked(policy).exits, Exit.CLOUD)
    table = sample.right(policy)
    held = reference(table, np.ones(400, np.int64), sees(scores.topology, exits), 1.0)
    answered = sample.decisions(policy).label == scores.y
    error = np.sqrt((answered != table[:, held]).sum())
    assert (
        table[:, held].sum() - answered.sum() + error <= 0.02 * 400 + 1e-9
        or answered.tolist() == table[:, held].tolist()
    )
    assert sample.outcome(policy).cost >= sample.outcome(plain).cost - 1e-9


def test_limits_are_kept_all_the_same() -> None:
    sample = Sample(make_scores(400))
    capped = replace(Objective(0.3), max_share={Exit.LOCAL: 0.4})
    policy = choose(sample, Policy(bundle="b" * 64), capped, doubt=1.0).policy
    assert sample.outcome(policy).share(Exit.LOCAL) <= 0.4
