"""Judging by how many devices are left."""

from dataclasses import replace

import numpy as np
import pytest

from ddnn.evaluation import Recorder, Scores
from ddnn.policy import Judging, Policy
from ddnn.tuning.cost import CostModel, Offload
from ddnn.tuning.frontier import Frontier, frontier
from ddnn.tuning.live import best_at, fit_live, rate_at, some
from ddnn.tuning.objective import Objective
from ddnn.tuning.sample import Sample
from ddnn.tuning.tune import choose
from ddnn.types import Array, Bools, Exit
from ddnn_lab.benchmarks.drift import lose
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


class Sent(CostModel):
    """A device sends one, and two more if the event goes past the local exit, and the edge one."""

    def at_exits(self, scores: Scores, offload: Offload) -> Array:
        return np.stack([scores.present.sum(axis=1) * each + (each > 2) for each in (1, 3, 3.5)], axis=1)


def fitted(recorder: Recorded) -> dict[int, Judging]:
    return fit_live(recorder, Sample(recorder.scores(), Sent()), POLICY)


def test_each_count_is_fitted_on_events_with_just_so_many_devices() -> None:
    recorder = Recorded(make_scores(300, devices=4))
    found = fitted(recorder)
    assert set(found) == {1, 2, 3}
    assert [np.unique(mask.sum(axis=1)).tolist() for mask in recorder.asked] == [[4], [1], [2], [3]]
    # What is half as large needs half the temperature.
    assert found[1].temperatures.local == pytest.approx(found[2].temperatures.local / 2, rel=1e-2)
    assert fitted(recorder) == found


def test_no_number_of_devices_sends_events_to_exits_that_are_no_better() -> None:
    scores = make_scores(300, devices=4, strength=2)
    noise = np.random.default_rng(1).normal(size=scores.cloud.shape).astype(np.float32)
    for judging in fitted(Recorded(replace(scores, cloud=noise))).values():
        assert judging.thresholds.edge == 1


def test_least_recalls_hold_with_fewer_devices_where_they_can() -> None:
    recorder = Recorded(make_scores(300, devices=4))
    whole = Sample(recorder.scores(), Sent())
    policy = choose(whole, POLICY, Objective(0.2)).policy
    plain, kept = (fit_live(recorder, whole, policy, aim) for aim in (None, Objective(0.2, min_recall={1: 0.8})))
    for count, judging in kept.items():
        left = some(whole.scores.present, count, np.random.default_rng((0, count)))
        fewer = Sample(recorder.scores(left), Sent())
        recall = [
            fewer.by_class(
                policy.model_copy(update={"thresholds": each.thresholds, "temperatures": each.temperatures})
            )["recall"][1]
            for each in (plain[count], judging)
        ]
        assert recall[1] >= min(0.8, fewer.recall(fewer.alone(policy)[Exit.CLOUD])[1] or 0)
        assert recall[1] >= recall[0]


def test_each_edge_keeps_so_many_of_its_own() -> None:
    recorder = Recorded(make_scores(100, devices=5, edges=2))
    assert set(fitted(recorder)) == {1, 2}
    edges = recorder.topology.edges
    kept = [np.stack([mask[:, edge.devices].sum(axis=1) for edge in edges]) for mask in recorder.asked]
    assert [np.unique(each, axis=1).T.tolist() for each in kept[1:]] == [[[1, 1]], [[2, 2]]]


def test_counts_that_few_events_have_keep_the_base() -> None:
    scores = make_scores(100, devices=4)
    scores.present[49:, 1:] = False  # the others with one device only
    assert set(fitted(Recorded(scores))) == {1}


def test_the_rate_is_the_slope_of_the_hull_where_the_chosen_point_is() -> None:
    # The hull leaves out (3, 18), which lies above the line from (2, 20) to (4, 10).
    points = made_points(wrong=[50, 20, 18, 10], cost=[1, 2, 3, 4])
    assert [rate_at(points, cost) for cost in (1, 2, 3, 4)] == pytest.approx([30, 30, 5, 5])
    assert rate_at(made_points(wrong=[3], cost=[2]), 2) == 0


def test_a_rate_picks_the_point_where_an_error_costs_as_much() -> None:
    points = made_points(wrong=[50, 20, 18, 10], cost=[1, 2, 3, 4])
    assert [best_at(points, rate)[0] for rate in (40, 20, 4, 0)] == pytest.approx([0.1, 0.2, 0.4, 0.4])


def made_points(wrong: list[int], cost: list[float]) -> Frontier:
    limits = np.arange(1, len(wrong) + 1)[:, None] / 10
    some_points = frontier(np.zeros((1, 1), np.float32), np.ones((1, 2), np.bool_), np.ones((1, 2)))
    return replace(some_points, thresholds=limits, wrong=np.array(wrong), cost=np.array(cost))


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
