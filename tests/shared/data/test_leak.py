"""Near-duplicates across a split, and the distances they are found by."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ddnn.data import Dataset, load
from ddnn.data.summary import WORRYING, Standard, near_duplicates, squared_distances


def made(folder: Path, views: np.ndarray[tuple[int, ...], np.dtype[np.float64]], **arrays: object) -> Dataset:
    y = np.arange(len(views)) % 2
    np.savez(folder / "made.npz", X=views, y=y, **arrays)  # type: ignore[arg-type]
    return load(str(folder / "made.npz"))


def test_copies_are_counted_even_where_they_share_one_view_only(tmp_path: Path) -> None:
    # Half of the test events are copies; of 15 % of these the original is a validation event.
    random = np.random.default_rng(0)
    views = random.normal(size=(200, 2, 1, 20))
    is_test, visible = np.arange(200) >= 160, np.ones((200, 2), bool)
    views[160:180] = views[:20]
    visible[160:180, 1] = False
    assert near_duplicates(made(tmp_path, views, is_test=is_test, visible=visible)) == pytest.approx(0.43, abs=0.1)


def test_separate_classes_alone_are_no_leak(tmp_path: Path) -> None:
    views = np.random.default_rng(0).normal(size=(300, 2, 10)) + 20 * (np.arange(300) % 2)[:, None, None]
    share = near_duplicates(made(tmp_path, views))
    assert share is not None
    assert share < WORRYING


def test_few_numbers_or_no_test_events_tell_nothing(tmp_path: Path) -> None:
    data = made(tmp_path, np.random.default_rng(0).normal(size=(60, 2, 3)))
    assert near_duplicates(data) is None
    assert near_duplicates(load("synthetic").subset("train")) is None


def test_the_sample_is_the_seeds(tmp_path: Path) -> None:
    data = made(tmp_path, np.tile(np.random.default_rng(0).normal(size=(200, 2, 10)), (2, 1, 1)))
    shares = [near_duplicates(data, events=20, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert shares[0] == shares[1]
    assert len(set(shares)) > 1


def test_rows_are_standardised_by_what_is_seen_and_distances_are_over_what_both_have() -> None:
    scene = load("synthetic").take(range(40))
    present = scene.present.copy()
    present[:7, 0] = present[5:9, 3] = False
    data = replace(scene, present=present)
    rows = Standard(data)(data)
    seen = rows.values.reshape(40, 6, 144)
    assert not seen[~present].any()
    assert abs(seen[present[:, 3], 3].mean()) < 1e-5
    assert seen[present[:, 3], 3].std() == pytest.approx(1, abs=1e-4)
    distances = squared_distances(rows, rows)
    both = present[2] & present[20]
    assert distances[2, 20] == pytest.approx(((seen[2] - seen[20]) ** 2)[both].mean(), rel=1e-4)
    alone = replace(data, present=np.eye(6, dtype=bool)[np.arange(40) % 6])
    assert np.isinf(squared_distances(*2 * [Standard(alone)(alone)])[0, 1])


def test_fewer_elements_are_evenly_spaced_and_every_device_keeps_some() -> None:
    data = load("synthetic")
    rows = Standard(data, elements=60)(data, np.arange(5))
    assert rows.values.shape == (5, 60)
    assert rows.sizes.tolist() == [10.0] * 6
