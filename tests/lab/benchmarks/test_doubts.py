"""Labels chosen from a stream, a part of which has drifted."""

from pathlib import Path

import numpy as np

from ddnn.data import load
from ddnn_lab.benchmarks.doubts import asked, labelled, worn
from ddnn_lab.drifting import Drift


def test_the_share_that_drifts_does_and_the_rest_stays_as_it_was() -> None:
    data = load("synthetic", seed=0)
    stream, some = worn(data, Drift(fade=1.0), 0, 0.25)
    assert 0.15 < some.mean() < 0.35
    assert sorted(stream.index.tolist()) == data.index.tolist()
    for view, before in zip(stream.views, data.views, strict=True):
        flat = view.reshape(len(view), -1)
        assert (np.ptp(flat, axis=1)[some] == 0).all()
        assert (view[~some] == before[stream.index[~some]]).all()


def test_labels_are_given_to_the_least_sure_to_those_below_a_limit_or_to_any() -> None:
    confidence = np.linspace(0, 1, 100, dtype=np.float32)[::-1].copy()
    assert asked("most doubtful", confidence, 3, 0.5, 0).tolist() == [99, 98, 97]
    assert (confidence[asked("doubted", confidence, 20, 0.5, 0)] < 0.5).all()
    assert len(asked("doubted, alone", confidence, 80, 0.5, 0)) == 50
    assert (confidence[asked("by chance", confidence, 60, 0.5, 0)] > 0.5).any()


def test_what_is_labelled_is_learnt_from_as_an_exported_file_is(tmp_path: Path) -> None:
    data = load("synthetic", seed=0)
    rows = np.arange(0, 480, 4)
    own = labelled(data, rows, tmp_path / "doubts.npz")
    assert (own.y == data.y[rows]).all()
    assert (own.views[5] == data.views[5][rows]).all()
    assert own.classes == data.classes
    assert set(own.split.tolist()) == {"train", "validation", "test"}
