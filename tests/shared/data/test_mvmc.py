"""The paper's own file, in its own form."""

import json
from pathlib import Path

import numpy as np
import pytest

from ddnn.data import load
from ddnn.errors import BadData

N = 60


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    y = np.where(random.random((N, 6)) < 0.4, 3, (np.arange(N) % 3)[:, None])
    y[:, 2] = np.arange(N) % 3
    np.savez(tmp_path / "MVMC.npz", X=random.random((N, 6, 3, 32, 32)).astype(np.float32), y=y)
    return tmp_path / "MVMC.npz"


def test_three_means_absent_and_the_event_is_of_the_largest_class(archive: Path) -> None:
    data = load(str(archive))
    raw = np.load(archive)["y"]
    assert (data.present == (raw != 3)).all()
    assert (data.y_dev[raw == 3] == -1).all()
    assert (data.y == np.arange(N) % 3).all()
    assert data.classes == ("car", "bus", "person")


def test_the_authors_split_is_taken_from_beside_the_file(archive: Path) -> None:
    rows = np.random.default_rng(1).permutation(N).tolist()
    (archive.parent / "mvmc_split.json").write_text(json.dumps({"train": rows[:48], "test": rows[48:]}))
    data = load(str(archive))
    assert set(np.flatnonzero(data.split == "test")) == set(rows[48:])


def test_a_split_that_does_not_list_each_event_once_is_refused(archive: Path) -> None:
    (archive.parent / "mvmc_split.json").write_text(json.dumps({"train": [0, 1], "test": [1]}))
    with pytest.raises(BadData, match=r"lists 2 \+ 1 rows; expected each of the 60 events once"):
        load(str(archive))


def test_a_label_above_three_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "MVMC.npz", X=np.zeros((4, 6, 3, 32, 32), np.float32), y=np.full((4, 6), 4))
    with pytest.raises(BadData, match=r"y \(N, D\) holds 4; expected 0..3"):
        load(str(tmp_path / "MVMC.npz"))
