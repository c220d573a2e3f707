"""The frontier of wrong answers against cost, against brute force."""

from collections.abc import Callable
from itertools import pairwise, product

import numpy as np
import pytest

from ddnn.errors import BadInput
from ddnn.tuning import frontier_search
from ddnn.tuning.frontier import Limits, best, frontier, split_between
from ddnn.types import Array, Bools, Floats, Ints

Events = tuple[Floats, Bools, Array]


def made(
    seed: int, exits: int, *, events: int = 14, levels: int = 8, absent: float = 0.1, falling: bool = False
) -> Events:
    """Criteria with ties, some never sure, exits that are often wrong, costs that are each event's own."""
    rng = np.random.default_rng(seed)
    criteria = (rng.integers(0, levels, size=(events, exits)) / np.float32(levels - 1)).astype(np.float32)  # 1.0 too
    criteria[rng.random(events) < absent] = np.inf
    right = rng.random((events, exits + 1)) < np.linspace(0.6, 0.9, exits + 1)
    steps = rng.choice([0.0, 1.0, 2.5, 7.3], size=(events, exits + 1))
    return criteria, right, steps[:, ::-1].cumsum(axis=1)[:, ::-1] if falling else steps.cumsum(axis=1)


def played(given: Events, thresholds: Array) -> tuple[int, float, Ints]:
    """Wrong answers, cost and answers an exit, event by event."""
    criteria, right, costs = given
    sure = np.concatenate([criteria.astype(np.float64) < thresholds, np.ones((len(criteria), 1), np.bool_)], axis=1)
    exit, rows = sure.argmax(axis=1), np.arange(len(criteria))
    answers = np.bincount(exit, minlength=right.shape[1])
    return int((~right[rows, exit]).sum()), float(costs[rows, exit].sum()), answers


def brute(given: Events, allowed: Callable[[Ints], bool] = lambda _: True) -> list[tuple[int, float]]:
    """The undominated of all combinations of all distinct thresholds, by falling numbers of wrong answers."""
    options = [np.append(np.unique(column[column < 1]).astype(np.float64), 1.0) for column in given[0].T]
    points = {
        (wrong, round(cost, 9))
        for t in product(*options)
        for wrong, cost, answers in [played(given, np.array(t))]
        if allowed(answers)
    }
    return sorted(
        (p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)), reverse=True
    )


@pytest.fixture
def few_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start with large boxes and small windows, as many events make it do."""
    monkeypatch.setattr(frontier_search, "_FIRST", 8)
    monkeypatch.setattr(frontier_search, "_BLOCK", 16)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("exits", [1, 2, 3])
def test_the_frontier_is_that_of_all_distinct_thresholds(seed: int, exits: int, few_boxes: None) -> None:
    given = made(seed, exits, events=14 if exits < 3 else 10)
    found = frontier(*given)
    assert (found.exact, found.largest_loss, found.largest_loss_cost) == (True, 0, 0.0)
    assert list(zip(found.wrong.tolist(), found.cost.round(9).tolist(), strict=True)) == brute(given)
    for thresholds, wrong, cost in zip(found.thresholds, found.wrong, found.cost, strict=True):
        assert played(given, thresholds)[:2] == pytest.approx((wrong, cost), abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_costs_that_fall_from_exit_to_exit_are_looked_at_one_by_one(seed: int) -> None:
    given = made(seed, 2, falling=True)
    found = frontier(*given)
    assert list(zip(found.wrong.tolist(), found.cost.round(9).tolist(), strict=True)) == brute(given)
    assert (found.exact, found.largest_loss) == (True, 0)
    part = frontier(*given, budget=20)
    assert (part.exact, part.largest_loss, part.largest_loss_cost) == (False, None, None)
    assert all(
        ((found.wrong <= w) & (found.cost <= c + 1e-9)).any() for w, c in zip(part.wrong, part.cost, strict=True)
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("exit", [0, 1, 2])
def test_with_a_cap_on_an_exit_the_frontier_is_that_of_what_is_allowed(seed: int, exit: int, few_boxes: None) -> None:
    given = made(seed, 2, events=12)
    caps = [5 if x == exit else None for x in range(3)]
    found = frontier(*given, Limits(caps=tuple(caps)))
    expected = brute(given, lambda answers: bool(answers[exit] <= 5))
    assert found.exact
    assert list(zip(found.wrong.tolist(), found.cost.round(9).tolist(), strict=True)) == expected


@pytest.mark.parametrize("seed", range(20))
def test_the_best_point_is_the_one_of_the_frontier(seed: int, few_boxes: None) -> None:
    given = made(seed, 3, events=10)
    points = brute(given)
    assert (best(*given, Limits(), "wrong").wrong.tolist(), best(*given, Limits()).wrong.tolist()) == (
        [points[-1][0]],
        [points[0][0]],
    )
    for limit in range(-1, 6):
        expected = min(((cost, wrong) for wrong, cost in points if wrong <= limit), default=None)
        found = best(*given, Limits(most_wrong=limit))
        assert found.exact
        assert list(zip(found.cost.round(9).tolist(), found.wrong.tolist(), strict=True)) == (
            [expected] if expected else []
        )
    for budget in (0.0, 20.0, points[len(points) // 2][1], 1e9):
        told = min(((wrong, cost) for wrong, cost in points if cost <= budget + 1e-9), default=None)
        found = best(*given, Limits(most_cost=budget), "wrong")
        assert list(zip(found.wrong.tolist(), found.cost.round(9).tolist(), strict=True)) == ([told] if told else [])


def synthetic(seed: int, events: int, exits: int) -> Events:
    """Exits with margins that share a difficulty, 5 % errors each; surer where the margin is large."""
    rng = np.random.default_rng(seed)
    margin = 1.645 + 0.6 * rng.normal(size=(events, 1)) + 0.8 * rng.normal(size=(events, exits + 1))
    criteria = np.exp(-np.abs(margin[:, :exits])).astype(np.float32)
    return criteria, margin > 0, np.tile(np.cumsum([24.0, 60.0, 100.0, 30.0][: exits + 1]), (events, 1))


@pytest.mark.parametrize("exits", [2, 3])
@pytest.mark.parametrize("budget", [1, 500, 2_000])
def test_a_search_that_ends_early_loses_no_more_than_it_says(
    exits: int, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontier_search, "_FIRST", 200)
    given = synthetic(exits, 2_000, exits)
    whole, part = frontier(*given), frontier(*given, budget=budget)
    assert whole.exact
    assert not part.exact
    assert part.largest_loss is not None
    assert part.largest_loss_cost is not None
    assert 0 < part.largest_loss < 200
    reached = whole.cost[:, None] >= part.cost  # at no greater cost than each point of the whole
    wrong = np.where(reached, part.wrong, len(given[0])).min(axis=1)
    assert (wrong - whole.wrong).max() <= part.largest_loss
    for w, cost in zip(whole.wrong, whole.cost, strict=True):
        if (part.wrong <= w).any():
            assert part.cost[part.wrong <= w].min() - cost <= part.largest_loss_cost + 1e-6


@pytest.mark.parametrize("exits", [1, 2, 3])
def test_no_point_of_a_grid_is_better(exits: int) -> None:
    given = synthetic(5, 600, exits)
    found = frontier(*given)
    for t in product(np.linspace(0, 1, 100 if exits < 3 else 12), repeat=exits):
        wrong, cost, _ = played(given, np.array(t))
        assert ((found.wrong <= wrong) & (found.cost <= cost)).any()


def test_points_are_sorted_by_cost_and_none_matches_another() -> None:
    found = frontier(*synthetic(1, 500, 2))
    assert all(a < b for a, b in pairwise(found.cost))
    assert all(a > b for a, b in pairwise(found.wrong))


def test_thresholds_are_between_values_and_an_exit_that_never_answers_is_off() -> None:
    criteria = np.array([[0.1], [0.2], [0.4], [0.8]], np.float32)
    right = np.array([[True, True], [True, True], [False, True], [True, True]])
    costs = np.tile([1.0, 2.0], (4, 1))
    found = frontier(criteria, right, costs)
    assert found.thresholds.ravel().tolist() == [0.9, 0.3]
    never = frontier(np.full((4, 1), np.inf, np.float32), right, costs)
    assert (never.thresholds.tolist(), never.cost.tolist()) == ([[0.0]], [8.0])


def test_matrices_that_do_not_fit_are_refused() -> None:
    criteria, right, costs = made(0, 2)
    with pytest.raises(BadInput, match="right is"):
        frontier(criteria, right[:, :2], costs)
    with pytest.raises(BadInput, match="not finite or below 0"):
        frontier(criteria, right, costs - 100)
    with pytest.raises(BadInput, match="no number"):
        frontier(np.full_like(criteria, np.nan), right, costs)


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (0.3, 0.31), (1e-12, 3e-12), (0.5, 0.5 + 2**-23)]
)  # the last: neighbours
def test_a_threshold_divides_two_neighbours_in_single_precision_too(low: float, high: float) -> None:
    cut = split_between(low, high)
    assert low < cut <= high
    assert np.float32(low) < np.float32(cut) <= np.float32(high)


def test_events_that_cost_nothing_have_a_frontier() -> None:
    criteria, right, costs = made(3, 2)
    found = frontier(criteria, right, np.zeros_like(costs))
    fewest = brute((criteria, right, np.zeros_like(costs)))
    assert list(zip(found.wrong.tolist(), found.cost.tolist(), strict=True)) == fewest
