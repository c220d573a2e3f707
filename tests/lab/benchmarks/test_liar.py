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
    before = {name: array.copy() for name, array in recorder.below.items()}
    rows = study(Trial(tiny_bundle, recorder, events.y))
    assert [row["fusion"] for row in rows] == list(FUSIONS)
    assert all(len(row["devices"]) == 6 for row in rows)
    assert all(set(each["lies"]) == {"another event", "one class", "features alone"} for each in rows[0]["devices"])
    assert all(np.array_equal(recorder.below[name], array) for name, array in before.items())
