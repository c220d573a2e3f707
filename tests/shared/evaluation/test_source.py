"""Data as a bundle's own were cut and split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.errors import BadData
from ddnn.evaluation.source import load_for, split_note

MakeBundle = Callable[..., Bundle]


def trained_on(bundle: Bundle, **data: Any) -> Bundle:
    training = bundle.manifest.training.model_copy(update={"data": data})
    return Bundle(bundle.path, bundle.manifest.model_copy(update={"training": training}), bundle.policy)


@pytest.fixture
def grouped(tmp_path: Path) -> Path:
    """90 events of three devices in nine groups."""
    rng = np.random.default_rng(0)
    arrays = {"X": rng.normal(size=(90, 3, 4)).astype(np.float32), "y": np.arange(90) % 3, "who": np.arange(90) // 10}
    np.savez(tmp_path / "grouped.npz", **arrays)  # type: ignore[arg-type]
    return tmp_path / "grouped.npz"


def test_the_split_is_that_of_training_unless_told_otherwise(make_bundle: MakeBundle, grouped: Path) -> None:
    source = {"name": "elsewhere/grouped.npz", "grid": None, "group_by": "who", "test_groups": ["7", "8"], "seed": 5}
    bundle = trained_on(make_bundle(), source=source)
    data = load_for(bundle, str(grouped))
    assert np.flatnonzero(data.split == "test").tolist() == list(range(70, 90))
    bundle = trained_on(bundle, source=source, fingerprint=data.fingerprint)
    assert split_note(bundle, data) is None
    other = load_for(bundle, str(grouped), test_groups=["1"])
    assert np.flatnonzero(other.split == "test").tolist() == list(range(10, 20))
    note = split_note(bundle, other)
    assert note is not None
    assert "another test_groups: its training events may be among these" in note


def test_a_network_of_some_devices_gets_those(make_bundle: MakeBundle, grouped: Path) -> None:
    bundle = trained_on(make_bundle(), source={"name": "grouped.npz", "devices": [2, 0], "seed": 0})
    data = load_for(bundle, str(grouped))
    assert data.source["devices"] == [2, 0]
    np.savez(grouped.parent / "pair.npz", X=np.zeros((90, 2, 4), np.float32), y=np.arange(90) % 3)
    assert load_for(bundle, str(grouped.parent / "pair.npz")).devices == 2
    grouped.rename(grouped.parent / "later.npz")
    assert load_for(bundle, str(grouped.parent / "later.npz")).source["devices"] == [2, 0]


def test_other_data_are_split_as_they_say_themselves(make_bundle: MakeBundle, grouped: Path) -> None:
    bundle = trained_on(make_bundle(), source={"name": "mnist5k", "grid": "3x2", "group_by": "subject", "seed": 0})
    data = load_for(bundle, str(grouped))
    assert data.source["group_by"] is None
    assert split_note(bundle, data) is None


def test_whole_images_are_cut_as_in_training(make_bundle: MakeBundle, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, size=(60, 28, 28), dtype=np.uint8)
    y = np.arange(60) % 3
    np.savez(tmp_path / "images.npz", x_train=images, y_train=y, x_test=images, y_test=y)
    bundle = trained_on(make_bundle(), source={"name": "mnist5k", "grid": "3x2", "seed": 0})
    assert load_for(bundle, str(tmp_path / "images.npz")).devices == 6
    (tmp_path / "broken.npz").write_bytes(b"not a zip")
    with pytest.raises(BadData, match="cannot be read"):
        load_for(bundle, str(tmp_path / "broken.npz"))
