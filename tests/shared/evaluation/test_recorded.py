"""Recorded scores in a file, and what is refused when they are read back."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.errors import BadData
from ddnn.evaluation import Scores, record
from ddnn.evaluation.recorded import Recorded, check
from ddnn.types import Array, Exit

MakeBundle = Callable[..., Bundle]
MakeData = Callable[..., Dataset]


@pytest.mark.parametrize(
    ("edges", "section", "raw"),
    [
        (((0, 1, 2),), True, False),
        (((0, 2), (1,)), True, False),
        (((0, 1, 2),), False, False),
        (((0, 1),), False, True),
    ],
)
def test_what_was_saved_is_what_is_read(
    make_bundle: MakeBundle,
    make_data: MakeData,
    tmp_path: Path,
    edges: tuple[tuple[int, ...], ...],
    section: bool,
    raw: bool,
) -> None:
    bundle, devices = make_bundle(edges, section=section, raw=raw), sum(map(len, edges))
    splits = {name: record(bundle, make_data(20 + n, devices, hidden=0.3)) for n, name in enumerate(("test", "train"))}
    Recorded.of(bundle, splits).save(tmp_path / "scores")
    read = Recorded.load(tmp_path / "scores", bundle)
    assert (read.bundle, read.name, read.classes) == (bundle.fingerprint, "tiny", ("a", "b", "c"))
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["scores"]
    for name, scores in splits.items():
        back = read.split(name)
        assert (back.topology, dict(back.source)) == (scores.topology, dict(scores.source))
        for array in ("device", "local", "edge", "cloud", "present", "y", "y_dev"):
            np.testing.assert_array_equal(getattr(back, array), getattr(scores, array))
    with pytest.raises(BadData, match=r"no validation split; they have test, train"):
        read.split("validation")


@pytest.fixture
def saved(make_bundle: MakeBundle, make_data: MakeData, tmp_path: Path) -> Path:
    bundle = make_bundle()
    Recorded.of(bundle, {"test": record(bundle, make_data(10, hidden=0.3))}).save(tmp_path / "scores.npz")
    return tmp_path / "scores.npz"


def change(path: Path, **arrays: Array | None) -> None:
    """Write the file again with some arrays of `test` replaced, or without those that are None."""
    with np.load(path) as file:
        held: dict[str, Any] = dict(file) | {(n if n == "about" else f"test.{n}"): a for n, a in arrays.items()}
    np.savez(path, **{name: array for name, array in held.items() if array is not None})


def about(path: Path, **keys: object) -> Array:
    with np.load(path) as file:
        return np.array(json.dumps(json.loads(str(file["about"])) | keys))


@pytest.mark.parametrize(
    ("name", "array", "sentence"),
    [
        ("cloud", None, "has no array 'test.cloud'"),
        ("cloud", np.zeros((9, 3), np.float32), r"test.cloud is float32 \(9, 3\); expected float32 \(10, 3\)"),
        ("device", np.zeros((10, 2, 3), np.float32), r"test.device is float32 \(10, 2, 3\); expected"),
        ("edge", np.zeros((10, 1, 3)), r"test.edge is float64 \(10, 1, 3\); expected float32"),
        ("cloud", np.full((10, 3), np.nan, np.float32), r"test.cloud is not finite in row 0"),
        ("local", np.full((10, 1, 3), np.inf, np.float32), r"test.local is not finite in row 0"),
        ("y", np.full(10, 3), r"test.y holds class 3; expected 0 to 2"),
        ("y_dev", np.full((10, 3), -2), r"test.y_dev holds class -2; expected -1 to 2"),
        ("present", np.ones((10, 3), np.uint8), r"test.present is uint8"),
        ("y", np.zeros(0, np.int64), r"test.y is empty"),
        ("cloud", np.array([{}], np.object_), r"test.cloud cannot be read"),
        ("about", None, "has no array 'about'"),
        ("about", np.array("{"), "about cannot be understood"),
        ("about", np.array('{"format": 2}'), "format is 2: Input should be 1"),
    ],
)
def test_a_file_that_is_not_whole_gets_a_sentence(saved: Path, name: str, array: Array | None, sentence: str) -> None:
    change(saved, **{name: array})
    with pytest.raises(BadData, match=sentence):
        Recorded.load(saved)


def test_what_the_file_says_of_itself_is_checked(saved: Path) -> None:
    whole = about(saved)
    for keys, sentence in (
        ({"topology": {"devices": []}}, "about cannot be understood"),
        ({"splits": {}}, "splits is {}: Dictionary should have at least 1 item"),
        ({"splits": {"test": {"data": "made"}}}, "splits.test.fingerprint is .*: Field required"),
        ({"bundle": 3}, "bundle is 3"),
    ):
        change(saved, about=whole)
        change(saved, about=about(saved, **keys))
        with pytest.raises(BadData, match=sentence):
            Recorded.load(saved)


def test_scores_of_another_bundle_are_refused(saved: Path, make_bundle: MakeBundle) -> None:
    with pytest.raises(BadData, match=r"holds the scores of bundle tiny .*; this one is tiny"):
        Recorded.load(saved, make_bundle(((0, 1),), name="other"))


def test_what_is_no_such_file_is_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"none.npz cannot be read"):
        Recorded.load(tmp_path / "none.npz")
    saved.write_bytes(saved.read_bytes()[:300])
    with pytest.raises(BadData, match=r"cannot be read as .npz"):
        Recorded.load(saved)


def test_nothing_is_written_of_scores_that_are_not_finite(
    make_bundle: MakeBundle, make_data: MakeData, tmp_path: Path
) -> None:
    bundle = make_bundle()
    scores = record(bundle, make_data(10))
    broken = replace(scores, cloud=np.full_like(scores.cloud, np.nan))
    with pytest.raises(BadData, match=r"is not finite"):
        Recorded.of(bundle, {"test": broken}).save(tmp_path / "scores.npz")
    assert not (tmp_path / "scores.npz").exists()


def test_scores_of_who_was_absent_may_be_anything(make_bundle: MakeBundle, make_data: MakeData) -> None:
    scores: Scores = record(make_bundle(), make_data(10, hidden=0.5))
    device = np.where(scores.present[..., None], scores.of(Exit.DEVICE), np.float32(np.nan))
    assert np.isnan(device).any()
    check(replace(scores, device=device))
