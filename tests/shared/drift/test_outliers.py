"""Who contradicts the others is found, whether all or some of the time; true devices, and all together, are not."""

import numpy as np
import pytest

from ddnn.drift import Evidence, OutlierMonitor, others
from ddnn.types import Array

DEVICES, CLASSES, RIGHT = 6, 4, 0.7
PROMISED = np.full((DEVICES, CLASSES), 0.4)
HERE = np.ones(DEVICES, np.bool_)


def said(labels: Array) -> Array:
    """Scores (…, K) that are for these labels (…)."""
    return np.asarray(4 * np.eye(CLASSES, dtype=np.float32)[labels])


def scenes(count: int, right: float, seed: int) -> tuple[Array, Array]:
    """Classes (N,) of events, and what devices that are `right` so often take them for (N, D)."""
    chance = np.random.default_rng(seed)
    y = chance.integers(CLASSES, size=count)
    wrong = (y[:, None] + chance.integers(1, CLASSES, (count, DEVICES))) % CLASSES
    return y, np.where(chance.random((count, DEVICES)) < right, y[:, None], wrong)


def monitor() -> OutlierMonitor:
    return OutlierMonitor(PROMISED, keep=0.75, false_alarm=0.001, clock=lambda: 7.0)


def test_what_the_others_say_is_their_sum_without_the_device_itself_and_without_the_absent() -> None:
    scores = said(np.array([0, 0, 1, 1, 1, 2]))
    assert others(scores, HERE).tolist() == [1, 1, 0, 0, 0, 1]
    here = np.array([True, True, True, False, False, True])
    assert others(scores, here)[[2, 3, 4]].tolist() == [0, 0, 0]
    assert others(scores[None], here[None]).shape == (1, 6)


def test_no_one_outweighs_the_rest_however_loud_it_is() -> None:
    scores = said(np.array([2, 1, 1, 1, 1, 1]))
    scores[0] *= 1e4
    assert others(scores, HERE).tolist() == [1] * 6


@pytest.mark.parametrize(("share", "within"), [(1.0, 60), (0.7, 400)])
def test_a_device_that_lies_is_set_aside_alone_and_heard_again_once_it_agrees(share: float, within: int) -> None:
    watch = monitor()
    y, labels = scenes(2000, RIGHT, seed=1)
    lies = np.random.default_rng(2).random(1000) < share
    labels[:1000, 3] = np.where(lies, (y[:1000] + 1) % CLASSES, labels[:1000, 3])
    found = [watch.note(said(row), HERE) for row in labels[:1000]]
    assert [out for out, _ in found if out is not None] == [3]
    assert next(place for place, (out, _) in enumerate(found) if out == 3) < within
    assert watch.since() == {3: 7.0}
    back = [who for row in labels[1000:] for who in watch.note(said(row), HERE)[1]]
    assert back == [3]
    assert not watch.aside


@pytest.mark.parametrize("right", [RIGHT, 0.5, 0.3])
def test_where_all_see_worse_none_is_an_outlier(right: float) -> None:
    watch = monitor()
    _, labels = scenes(3000, right, seed=3)
    assert all(watch.note(said(row), HERE) == (None, []) for row in labels)


def test_of_few_devices_nobody_can_tell_which_is_wrong() -> None:
    few = np.arange(DEVICES) < 3
    watch = monitor()
    y, labels = scenes(300, 1.0, seed=4)
    labels[:, 0] = (y + 1) % CLASSES
    assert all(watch.note(said(row), few) == (None, []) for row in labels)


def test_what_a_device_contradicts_anyway_is_no_evidence() -> None:
    blind = np.where(np.arange(DEVICES)[:, None] == 2, 1.0, PROMISED)
    watch = OutlierMonitor(blind, keep=0.75, false_alarm=0.001, clock=lambda: 0.0)
    y, labels = scenes(500, 1.0, seed=5)
    labels[:, 2] = (y + 1) % CLASSES
    assert all(watch.note(said(row), HERE) == (None, []) for row in labels)


def test_evidence_is_fair_where_the_promise_changes_from_one_to_the_next_and_can_begin_anew() -> None:
    promised, streams = np.array([0.1, 0.5, 0.9]), np.array(np.meshgrid(*[[False, True]] * 3)).reshape(3, -1).T
    evidence = Evidence(0.5, (len(streams),))
    for step, p in enumerate(promised):
        evidence.add(streams[:, step], promised=np.full(len(streams), p))
    chance = np.where(streams, promised, 1 - promised).prod(axis=1)
    assert float(chance @ evidence.value) == pytest.approx(1, abs=1e-9)
    evidence.begin(0)
    assert float(evidence.value[0]) == 1
