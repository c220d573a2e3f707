"""One device that lies: every device and lie is tried, and what it finds out is worse than what it guesses."""

import numpy as np

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.data import load
from ddnn.evaluation import Recorder
from ddnn.types import Exit
from ddnn_lab.benchmarks.liar import Trial, study


def test_every_device_is_lost_and_lies_and_the_more_it_knows_the_worse(tiny_bundle: Bundle) -> None:
    events = load("synthetic", seed=3).subset("test")
    found = study(Trial(tiny_bundle, Recorder(tiny_bundle, events), events.y))
    assert len(found["devices"]) == 6
    for each in found["devices"]:
        lies = each["lies"]
        blind = min(lies[kind] for kind in ("another event", "one class", "features alone"))
        assert lies["all it could"] <= lies["what it sees"] <= blind + 1e-9
        assert each["gap"] == each["lost"] - lies["in a stream"]


def test_in_a_stream_one_that_lies_all_the_time_is_set_aside_by_an_edge_that_was_promised_otherwise() -> None:
    bundle = Bundle.open(shipped_bundle())
    events = load("mnist5k", grid="3x2").subset("validation")
    trial = Trial(bundle, Recorder(bundle, events), events.y)
    said, true = trial.without().of(Exit.DEVICE)[:, 3], trial.right(trial.without())
    none, always = np.zeros(len(events), np.bool_), np.ones(len(events), np.bool_)
    told, after = trial.streamed(3, said, true, none)
    assert np.array_equal(told, true)
    assert after is None
    lost, lies = trial.right(trial.without(3)), said[np.random.default_rng(1).permutation(len(events))]
    told, after = trial.streamed(3, lies, none, always)
    assert after is not None
    assert told.sum() >= lost.sum() - after


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
