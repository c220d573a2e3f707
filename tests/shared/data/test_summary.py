"""What is said of a data set before training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.data import Dataset, load
from ddnn.data.summary import describe, doubts


def made(folder: Path, **arrays: Any) -> Dataset:
    np.savez(folder / "mine.npz", **arrays)
    return load(str(folder / "mine.npz"))


def test_one_line_says_what_there_is(tmp_path: Path) -> None:
    assert describe(load("synthetic")) == (
        "synthetic: 480 events (328 train, 56 validation, 96 test; test at random within each class), "
        "6 devices (views: 6 of 1×12×12 uint8), 4 classes (square, cross, disc, stripes)"
    )
    y = np.arange(60) % 2
    unequal = made(tmp_path, X_0=np.zeros((60, 3, 8, 8), np.uint8), X_1=np.zeros((60, 5), np.float32), y=y)
    assert "2 devices (views: 1 of 3×8×8 uint8, 1 of 5 float32), 2 classes (0, 1)" in describe(unequal)


@pytest.mark.parametrize(
    ("labels", "empty"), [([1, 2, 3], "0"), ([0, 2, 4], "1, 3"), ([0, 9], "1, 2, 3, 4, 5 and 3 more")]
)
def test_classes_without_events_are_doubted(tmp_path: Path, labels: list[int], empty: str) -> None:
    y = np.array(labels)[np.arange(60) % len(labels)]
    views = np.arange(480, dtype=np.float32).reshape(60, 2, 4)
    sentence, *_ = doubts(made(tmp_path, X=views, y=y))
    assert sentence.startswith(f"no event has class {empty}; expected labels 0..{max(labels)} that all occur")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_with_their_channels_last_are_doubted(tmp_path: Path, channels: int) -> None:
    y, images = np.arange(60) % 3, np.random.default_rng(0).integers(0, 256, (60, 2, 16, 12, channels), np.uint8)
    (sentence,) = doubts(made(tmp_path, X=images, y=y))
    assert sentence.startswith(f"views of device 0, 1 have shape 16×12×{channels}, which looks like (H, W, C)")
    assert doubts(made(tmp_path, X=np.moveaxis(images, -1, -3), y=y)) == []


def test_a_random_split_of_video_frames_is_doubted_and_one_by_scene_is_not(tmp_path: Path) -> None:
    random, scene = np.random.default_rng(0), np.arange(240) // 12
    frames = random.normal(size=(20, 2, 1, 8, 8))[scene] + 0.05 * random.normal(size=(240, 2, 1, 8, 8))
    arrays = {"X": frames, "y": scene % 2, "scene": scene}
    (sentence,) = doubts(made(tmp_path, **arrays))
    assert sentence.startswith("100 % of the test events have a near-duplicate in training")
    assert doubts(load(str(tmp_path / "mine.npz"), group_by="scene")) == []
    by_block = load(str(tmp_path / "mine.npz"), group_by="row:12")
    assert doubts(by_block) == []
    assert "test whole groups of row:12: 2, 4, 6, 19, validation 3, 14)" in describe(by_block)


def test_usual_data_raise_no_doubt() -> None:
    assert doubts(load("synthetic")) == []
    assert doubts(load("mnist5k", grid="3x2")) == []
