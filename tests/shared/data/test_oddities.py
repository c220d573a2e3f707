"""What is said of data that are odd and allowed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.data import Dataset, load
from ddnn.data.oddities import few, oddities
from ddnn.data.summary import near_duplicates
from ddnn.types import Array, Floats

N = 120
Y = np.arange(N) % 3
SPLIT = np.array(["train", "train", "validation", "test"])[np.arange(N) // 3 % 4]


def numbers() -> Floats:
    return np.random.default_rng(0).normal(size=(N, 3, 4)).astype(np.float32)


def made(folder: Path, **arrays: Any) -> Dataset:
    np.savez(folder / "mine.npz", **{"X": numbers(), "y": Y, "split": SPLIT, **arrays})
    return load(str(folder / "mine.npz"))


def test_usual_events_are_not_odd(tmp_path: Path) -> None:
    assert list(oddities(made(tmp_path))) == []


def test_missing_numbers_are_counted_and_their_rule_is_said(tmp_path: Path) -> None:
    values = numbers()
    values[::2, 1, 0], values[::2, 1, 1] = np.nan, np.inf
    (sentence,) = oddities(made(tmp_path, X=values))
    assert sentence.startswith("25.0 % of the numbers in views of device 1 are missing (NaN or infinity); each counts")
    assert sentence.endswith("its channel's usual value in training, mean or median, at serving too")


def test_what_is_missing_in_a_view_that_is_not_seen_counts_nowhere(tmp_path: Path) -> None:
    values, visible = numbers(), np.ones((N, 3), bool)
    values[::2, 1], visible[::2, 1] = np.nan, False
    assert list(oddities(made(tmp_path, X=values, visible=visible))) == []


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_devices_that_say_nothing_are_named(tmp_path: Path, dtype: type) -> None:
    values: Array = (100 + 20 * numbers()).astype(dtype)
    visible = np.ones((N, 3), bool)
    values[:, 0], visible[:, 2] = 7, False
    unseen, still = oddities(made(tmp_path, X=values, visible=visible))
    assert unseen.startswith("device 2 has no view in any training event")
    assert still.startswith("device 0 has the same view in every event")


def test_a_rare_class_is_named_with_its_events(tmp_path: Path) -> None:
    y = np.where(np.arange(N) % 40 == 0, 1, 0)
    (sentence,) = oddities(made(tmp_path, y=y, split=np.tile(["train", "validation", "test"], 40)))
    assert sentence.startswith("class 1 (1) has few of the training events, class 0 39; overall accuracy hides")


def test_a_class_without_events_in_a_split_is_named(tmp_path: Path) -> None:
    split = np.where((Y == 2) & (SPLIT == "test"), "train", SPLIT)
    (sentence,) = oddities(made(tmp_path, split=split))
    assert sentence == "class 2 has no test event, so test figures say nothing of it"


def test_validation_events_of_one_class_are_doubted(tmp_path: Path) -> None:
    split = np.where((Y != 1) & (SPLIT == "validation"), "train", SPLIT)
    (sentence,) = oddities(made(tmp_path, split=split))
    assert sentence.startswith("all validation events have class 1, so epoch and thresholds cannot be chosen")


def test_only_a_few_names_are_given() -> None:
    assert few(range(5)) == "0, 1, 2, 3, 4"
    assert few(range(7)) == "0, 1, 2, 3, 4 and 2 more"


def test_near_duplicates_are_found_among_missing_numbers(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = np.repeat(random.normal(size=(40, 3, 8)), 3, axis=0)
    values[random.random(values.shape) < 0.02] = np.nan
    split = np.tile(["train", "validation", "test"], 40)
    assert near_duplicates(made(tmp_path, X=values, y=np.arange(N) // 3 % 3, split=split)) == pytest.approx(
        1.0, abs=0.2
    )


def test_one_event_in_a_hundred_far_out_makes_the_others_no_near_duplicates(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(400, 3, 8)) + np.arange(400)[:, None, None] % 3
    values[::100] = 1e9
    np.savez(tmp_path / "far.npz", X=values, y=np.arange(400) % 3)
    near = near_duplicates(load(str(tmp_path / "far.npz")))
    assert near is not None
    assert near < 0.02
