"""One device that lies: what fusions bear, and that every device and lie is tried."""

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.data import load
from ddnn.evaluation import Recorder
from ddnn_lab.benchmarks.liar import FUSIONS, Trial, study


@pytest.mark.parametrize("name", ["clipped", "trimmed mean", "median"])
def test_one_device_of_six_does_not_outweigh_the_others(name: str) -> None:
    fuse = FUSIONS[name]
    assert fuse
    scores = np.tile(np.eye(10, dtype=np.float32)[3] * 9, (1, 6, 1))
    scores[0, 2] = np.where(np.arange(10) == 7, 1e4, -1e4)
    assert fuse(scores, np.ones((1, 6), np.bool_)).argmax() == 3
    assert scores.mean(axis=1).argmax() == 7


def test_every_device_is_lost_and_lies_under_every_fusion(tiny_bundle: Bundle) -> None:
    events = load("synthetic", seed=3).subset("test")
    recorder = Recorder(tiny_bundle, events)
    rows = study(Trial(tiny_bundle, recorder, events.y))
    assert [row["fusion"] for row in rows] == list(FUSIONS)
    assert all(len(row["devices"]) == 6 for row in rows)
    kinds = {"another event", "one class", "features alone", "what it sees", "all it could"}
    for row in rows:
        for each in row["devices"]:
            assert set(each["lies"]) == kinds
            best = min(each["lies"][kind] for kind in ("another event", "one class", "features alone"))
            assert each["lies"]["all it could"] <= each["lies"]["what it sees"] <= best + 1e-9


def test_features_that_were_found_move_the_edge_further_than_those_of_another_event(tiny_bundle: Bundle) -> None:
    events = load("synthetic", seed=3).subset("test")
    trial = Trial(tiny_bundle, Recorder(tiny_bundle, events), events.y)
    found = trial.found(0)
    assert found is not None
    lying, true = trial.told(0, None, found[0]).edge, trial.without().edge
    assert lying is not None
    assert true is not None
    assert lying[:, 0, 0].mean() > true[:, 0, 0].mean()


def test_nothing_is_left_of_a_lie(tiny_bundle: Bundle) -> None:
    events = load("synthetic", seed=3).subset("test")
    recorder = Recorder(tiny_bundle, events)
    before = {name: array.copy() for name, array in recorder.below.items()}
    Trial(tiny_bundle, recorder, events.y).lying(0)
    assert all(np.array_equal(recorder.below[name], array) for name, array in before.items())
