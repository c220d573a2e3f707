"""Which events train, choose and test."""

from pathlib import Path

import numpy as np
import pytest

from ddnn.data import load
from ddnn.data.split import stratified
from ddnn.errors import BadData

N = 240


def grouped(folder: Path, groups: int = 8) -> str:
    path = folder / "grouped.npz"
    np.savez(path, X=np.zeros((N, 2, 3), np.float32), y=np.arange(N) % 3, subject=np.arange(N) // 3 % groups + 1)
    return str(path)


def test_groups_stay_whole(tmp_path: Path) -> None:
    data = load(grouped(tmp_path), group_by="subject")
    subject = np.arange(N) // 3 % 8
    assert all(len(set(data.split[subject == s])) == 1 for s in range(8))


def test_named_groups_are_the_test_and_validation_is_another_whole_one(tmp_path: Path) -> None:
    data = load(grouped(tmp_path), group_by="subject", test_groups=["7", "8"])
    subject = np.arange(N) // 3 % 8 + 1
    assert set(subject[data.split == "test"]) == {7, 8}
    assert len(set(subject[data.split == "validation"])) == 1


def test_an_unknown_group_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="test-groups names 9, which subject does not hold"):
        load(grouped(tmp_path), group_by="subject", test_groups=["7", "9"])


def test_blocks_of_time_stay_whole_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    time = np.random.default_rng(0).permutation(np.linspace(1e9, 1e9 + 100, N, endpoint=False))
    np.savez(tmp_path / "timed.npz", X=np.zeros((N, 2, 3), np.float32), y=np.arange(N) % 3, time=time)
    split = load(str(tmp_path / "timed.npz"), group_by="time:12.5", test_groups=["0", "7"]).split
    assert ((split == "test") == ((time < 1e9 + 12.5) | (time >= 1e9 + 87.5))).all()
    assert len(set(((time - 1e9) // 12.5)[split == "validation"])) == 1


def test_blocks_of_rows_need_no_array(tmp_path: Path) -> None:
    split = load(grouped(tmp_path), group_by="row:30").split
    assert all(len(set(split[start : start + 30])) == 1 for start in range(0, N, 30))


@pytest.mark.parametrize(
    ("group_by", "sentence"),
    [
        ("row:0", "group-by is row:0; expected the length of a block in row's own unit, such as row:60"),
        ("row:x", "group-by is row:x; expected"),
        ("X:4", r"X has type float32 and shape \(240, 2, 3\); expected finite numbers"),
        ("when:4", "group-by names when:4, which grouped.npz does not hold"),
    ],
)
def test_blocks_that_cannot_be_cut_are_refused(tmp_path: Path, group_by: str, sentence: str) -> None:
    with pytest.raises(BadData, match=sentence):
        load(grouped(tmp_path), group_by=group_by)


def test_the_division_is_on_record(tmp_path: Path) -> None:
    assert load(grouped(tmp_path), group_by="subject", test_groups=["7", "8"]).division == {
        "test": "whole groups of subject",
        "validation": "whole groups of subject",
        "groups": {"validation": ["4"], "test": ["7", "8"]},
        "events": {"train": 150, "validation": 30, "test": 60},
    }
    given = load("mnist5k", grid="3x2").division
    assert (given["test"], given["validation"]) == ("given by the data", "at random within each class")
    assert given["groups"] is None


def test_too_few_groups_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="leaves 1 group"):
        load(grouped(tmp_path, 2), group_by="subject")


def test_a_seed_gives_the_same_split_and_another_one_another(tmp_path: Path) -> None:
    first, again, other = (load(grouped(tmp_path), seed=seed).split for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_stratified_takes_the_same_share_of_each_class() -> None:
    y = np.repeat([0, 1, 2], [100, 50, 10])
    chosen = stratified(y, np.ones(160, bool), 0.2, 0)
    assert [int(chosen[y == label].sum()) for label in range(3)] == [20, 10, 2]


def test_a_class_of_one_event_stays_where_it_is() -> None:
    y = np.array([0, 0, 0, 0, 1])
    assert not stratified(y, np.ones(5, bool), 0.5, 0)[4]
