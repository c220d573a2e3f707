"""Whole images cut into the views of several devices."""

from pathlib import Path

import numpy as np
import pytest

from ddnn.data import load
from ddnn.data.formats import cut
from ddnn.errors import BadData


def test_3x2_is_cut_as_the_authors_cut_it() -> None:
    images = np.random.default_rng(0).integers(1, 256, (2, 1, 28, 28)).astype(np.uint8)
    padded = np.zeros((2, 1, 32, 32), np.uint8)
    padded[:, :, 2:30, 2:30] = images
    views = cut(images, (3, 2))
    assert [view.shape for view in views] == [(2, 1, 16, 10)] * 6
    for i, view in enumerate(views):
        rows, columns = 16 * (i % 2), 10 * (i // 2)
        np.testing.assert_array_equal(view, padded[:, :, rows : rows + 16, columns : columns + 10])


@pytest.mark.parametrize(
    ("grid", "shape"), [((1, 1), (32, 32)), ((2, 2), (16, 16)), ((4, 1), (32, 8)), ((5, 3), (10, 6))]
)
def test_other_grids_are_cut_alike(grid: tuple[int, int], shape: tuple[int, int]) -> None:
    views = cut(np.zeros((3, 3, 32, 32), np.uint8), grid)
    assert [view.shape for view in views] == [(3, 3, *shape)] * (grid[0] * grid[1])


def keras(
    folder: Path, images: tuple[int, ...] = (28, 28), **changes: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> str:
    random = np.random.default_rng(1)
    arrays = {
        "x_train": random.integers(0, 256, (60, *images)).astype(np.uint8),
        "y_train": np.arange(60) % 3,
        "x_test": random.integers(0, 256, (12, *images)).astype(np.uint8),
        "y_test": np.arange(12) % 3,
    }
    path = folder / "images.npz"
    np.savez(path, **{**arrays, **changes})  # type: ignore[arg-type]
    return str(path)


def test_an_image_set_keeps_its_own_test_events(tmp_path: Path) -> None:
    data = load(keras(tmp_path), grid="3x2")
    assert data.grid == (3, 2)
    assert ((data.split == "test") == (np.arange(72) >= 60)).all()
    assert (data.split == "validation").sum() == 9


def test_colour_comes_channels_last_and_labels_may_stand_in_a_column(tmp_path: Path) -> None:
    data = load(keras(tmp_path, (32, 32, 3), y_test=np.arange(12)[:, None] % 3), grid="2x2")
    assert [view.shape for view in data.views] == [(72, 3, 16, 16)] * 4


def test_an_image_set_without_a_grid_says_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="add --grid 3x2"):
        load(keras(tmp_path))


@pytest.mark.parametrize("grid", ["3", "0x2", "3x", "three", "3x2x1", "-1x2"])
def test_a_bad_grid_is_named(tmp_path: Path, grid: str) -> None:
    with pytest.raises(BadData, match=f"grid is '{grid}'; expected columns x rows"):
        load(keras(tmp_path), grid=grid)


def test_a_grid_finer_than_the_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="not finer"):
        load(keras(tmp_path), grid="40x2")


def test_breaches_of_an_image_set_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"x_test is uint8"):
        load(keras(tmp_path, x_test=np.zeros((12, 20, 20), np.uint8)), grid="3x2")
    with pytest.raises(BadData, match="y_train has shape"):
        load(keras(tmp_path, y_train=np.arange(7)), grid="3x2")
    with pytest.raises(BadData, match="x_train has shape"):
        load(keras(tmp_path, (4, 4, 4, 4)), grid="3x2")
    np.savez(tmp_path / "half.npz", x_train=np.zeros((4, 8, 8), np.uint8))
    with pytest.raises(BadData, match="y_train is missing"):
        load(str(tmp_path / "half.npz"), grid="3x2")
