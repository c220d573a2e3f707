"""Judging by how many devices are left."""

from dataclasses import replace

import numpy as np
import pytest

from ddnn.errors import Infeasible
from ddnn.evaluation import Recorder, Scores
from ddnn.policy import Policy, Thresholds
from ddnn.tuning.asked import ask
from ddnn.tuning.live import at_price, fit_live, lose, price_of, some
from ddnn.types import Bools
from made_scores import make_scores

POLICY = Policy(bundle="b")


class Recorded(Recorder):
    """A recorder of made-up scores: with few devices the local exit knows less."""

    def __init__(self, scores: Scores) -> None:
        self.topology, self._scores, self.asked = scores.topology, scores, list[Bools]()

    def scores(self, present: Bools | None = None) -> Scores:
        there = self._scores.present if present is None else present & self._scores.present
        self.asked.append(there)
        assert self._scores.local is not None
        seen = np.stack([there[:, edge.devices].mean(axis=1) for edge in self.topology.edges], axis=1)[..., None]
        return replace(self._scores, present=there, local=(self._scores.local * seen).astype(np.float32))


def choose(scores: Scores, policy: Policy) -> Thresholds:
    counts = set(scores.present.sum(axis=1).tolist())
    assert policy.live == {}
    return Thresholds(local=len(counts) / 10, edge=counts.pop() / 10)


def test_each_count_is_fitted_on_events_with_just_so_many_devices() -> None:
    recorder = Recorded(make_scores(200, devices=4))
    found = fit_live(recorder, POLICY, choose)
    assert {count: judging.thresholds for count, judging in found.items()} == {
        count: Thresholds(local=0.1, edge=count / 10) for count in (1, 2, 3)
    }
    # What is four times as small needs a fourth of the temperature.
    assert found[1].temperatures.local == pytest.approx(found[2].temperatures.local / 2, rel=1e-2)
    assert fit_live(recorder, POLICY, choose) == found


def test_each_edge_keeps_so_many_of_its_own() -> None:
    recorder = Recorded(make_scores(100, devices=5, edges=2))
    found = fit_live(recorder, POLICY, lambda scores, policy: Thresholds())
    assert set(found) == {1, 2}
    kept = [
        np.stack([mask[:, edge.devices].sum(axis=1) for edge in recorder.topology.edges]) for mask in recorder.asked
    ]
    assert [np.unique(each, axis=1).T.tolist() for each in kept[1:]] == [[[1, 1]], [[2, 2]]]


def test_counts_that_few_events_have_or_that_are_infeasible_keep_the_base() -> None:
    scores = make_scores(100, devices=4)
    scores.present[60:, 1:] = False  # forty events with one device only

    def never_one(scores: Scores, policy: Policy) -> Thresholds:
        if scores.present.sum(axis=1).max() == 1:
            raise Infeasible("one device is not enough")
        return Thresholds()

    assert set(fit_live(Recorded(scores), POLICY, never_one)) == {2, 3}
    scores.present[40:, 1:] = False
    assert set(fit_live(Recorded(scores), POLICY, choose)) == {1}


def test_some_of_the_present_devices_are_drawn_evenly() -> None:
    present = np.ones((3000, 3), np.bool_)
    present[:, 0] = False
    drawn = some(present, 1, np.random.default_rng(0))
    assert (drawn.sum(axis=1) == 1).all()
    assert drawn.mean(axis=0) == pytest.approx([0, 0.5, 0.5], abs=0.05)
    assert np.array_equal(some(present, 5, np.random.default_rng(0)), present)


def test_devices_are_lost_at_the_asked_share_but_never_the_last() -> None:
    present = np.ones((3000, 6), np.bool_)
    left = lose(present, 0.3, np.random.default_rng(0))
    assert left.mean() == pytest.approx(0.7, abs=0.02)
    assert (lose(present, 1.0, np.random.default_rng(0)).sum(axis=1) == 1).all()


def test_the_price_is_the_slope_of_the_hull_where_the_chosen_point_is() -> None:
    cost, accuracy = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.5, 0.8, 0.82, 0.9])
    # The hull leaves out (3, 0.82), which lies below the line from (2, 0.8) to (4, 0.9).
    prices = [price_of(accuracy, cost, chosen) for chosen in (1.0, 2.0, 3.0, 4.0)]
    assert prices == pytest.approx([0.3, 0.3, 0.05, 0.05])
    assert price_of(np.array([0.9]), np.array([2.0]), 2.0) == 0


@pytest.mark.parametrize(("price", "up"), [(10.0, 0), (0.0, 1)])
def test_a_high_price_keeps_all_at_the_local_exit_and_none_takes_the_most_accurate(price: float, up: int) -> None:
    scores = make_scores(200, section=False)
    costs = np.tile([0.0, 1.0], (200, 1))
    thresholds = at_price(price, lambda scores: costs)(scores, POLICY)
    asked = ask(scores, POLICY)
    reached = asked.reached(np.array([[thresholds.local]]))[0]
    if not up:
        assert not reached.any()
    accuracy = (asked.labels == scores.y[:, None])[np.arange(200), reached].mean()
    best = max(
        (asked.labels == scores.y[:, None])[np.arange(200), asked.reached(np.array([[limit]]))[0]].mean()
        for limit in [0.0, *np.unique(asked.unsureness), 1.0]
    )
    assert not up or accuracy == best
