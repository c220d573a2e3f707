"""Baselines that see only data: by hand where the right answer is known, on real digits where a figure is."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ddnn.data import Dataset, load
from ddnn.errors import BadData
from ddnn.types import Array, Ints
from ddnn_lab.baselines import linear, linear_alone, majority, nearest, presence

N = 300
Y = np.arange(N) % 3


def made(*views: Array, present: Array | None = None, y: Ints = Y) -> Dataset:
    seen = np.ones((N, len(views)), bool) if present is None else present
    return Dataset(
        name="made",
        views=views,
        y=y,
        y_dev=np.where(seen, y[:, None], -1),
        present=seen,
        classes=("a", "b", "c"),
        split=np.array(["train", "train", "train", "validation", "test"])[np.arange(N) // 3 % 5],
        grid=None,
        index=np.arange(N),
        fingerprint="0" * 64,
        source={},
    )


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(N, *shape)).astype(np.float32)


def right(labels: Ints, data: Dataset) -> float:
    return float((labels == data.subset("test").y).mean())


def test_majority_says_the_most_frequent_class_of_training() -> None:
    y = np.where(np.arange(N) % 4, 2, Y)
    data = made(noise(2), y=y)
    assert majority(data).tolist() == [2] * len(data.subset("test"))


def test_presence_reads_the_mask_and_an_unknown_mask_goes_to_its_nearest() -> None:
    present = np.eye(3, dtype=bool)[Y].repeat(2, axis=1)
    data = made(*[np.zeros((N, 1), np.float32)] * 6, present=present)
    assert right(presence(data), data) == 1.0
    mixed = present.copy()
    mixed[data.split == "test", 0] = True
    assert right(presence(replace(data, present=mixed)), data) == 1.0
    assert right(presence(replace(data, present=np.ones_like(present))), data) == pytest.approx(1 / 3, abs=0.01)


def shifted(shape: tuple[int, ...]) -> Array:
    """Views that are their class's pattern, and as much noise."""
    return noise(*shape) + np.random.default_rng(2).normal(size=(3, *shape)).astype(np.float32)[Y]


@pytest.mark.parametrize("baseline", [nearest, linear])
@pytest.mark.parametrize("shape", [(1, 6, 6), (2, 30), (40,)], ids=["image", "series", "vector"])
def test_pixels_of_every_kind_are_read(baseline: Callable[[Dataset], Ints], shape: tuple[int, ...]) -> None:
    data = made(shifted(shape), noise(3, seed=1))
    assert right(baseline(data), data) > 0.8


@pytest.mark.parametrize("baseline", [nearest, linear])
def test_what_an_absent_view_holds_changes_nothing(baseline: Callable[[Dataset], Ints]) -> None:
    present = np.stack([np.arange(N) % 2 == 0, np.ones(N, bool)], axis=1)
    views = shifted((8,)), shifted((1, 3, 3))
    spoiled = np.where(present[:, :1], views[0], np.float32(1e6))
    clean, other = made(*views, present=present), made(spoiled, views[1], present=present)
    assert (baseline(clean) == baseline(other)).all()
    assert right(baseline(clean), clean) > 0.8


def test_a_training_event_is_its_own_nearest_however_many_there_are() -> None:
    data = made(noise(2, 9), noise(4, seed=1))
    assert (nearest(data, part="train") == data.subset("train").y).all()
    few = nearest(data, part="train", most=60)
    assert 60 / 180 <= (few == data.subset("train").y).mean() < 1
    assert (few == nearest(data, part="train", most=60)).all()


def test_each_device_alone_is_a_classifier_of_that_view() -> None:
    present = np.ones((N, 2), bool)
    present[Y == 1, 1] = False
    data = made(noise(9), shifted((9,)), present=present)
    labels, test = linear_alone(data), data.subset("test")
    assert labels.shape == (len(test), 2)
    assert (labels[:, 0] == test.y).mean() < 0.6
    assert (labels[:, 1] == test.y).mean() > 0.9  # class 1 is the one it does not see


def test_events_fewer_than_elements_give_the_same_classifier_as_more_do() -> None:
    # Elements that are always zero change no distance and no score, only which of two equal systems is solved.
    views = shifted((1, 6, 6)), noise(9)
    padded = made(*views, np.zeros((N, 200), np.float32))
    narrow = made(*views)
    strength = 1e-2
    assert (linear(narrow, strengths=(strength,)) == linear(padded, strengths=(strength * 248 / 47,))).mean() > 0.98


@pytest.mark.slow
def test_the_linear_baseline_of_real_digits_is_where_it_should_be() -> None:
    digits = load("mnist5k", grid="3x2")
    some = digits.take(np.flatnonzero((digits.split != "test") | (np.arange(5000) % 4 == 0)))
    assert right(linear(some, strengths=(0.1,)), some) == pytest.approx(0.81, abs=0.05)


def test_a_part_that_is_empty_is_named() -> None:
    data = made(noise(2))
    with pytest.raises(BadData, match="made has no validation events"):
        linear(data.take(np.flatnonzero(data.split != "validation")))
