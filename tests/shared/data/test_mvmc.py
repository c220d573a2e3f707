"""The paper's own file, in its own form."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.cli.app import main
from ddnn.data import load
from ddnn.data.summary import doubts, near_duplicates
from ddnn.errors import BadData
from mvmc_stand_in import write_mvmc

N = 60
TINY = """
[network]
edge_section = false
shared_weights = true
[network.device]
filters = [4]
cut_filters = 2
[network.cloud]
filters = [4]
"""


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


def test_the_whole_file_comes_with_the_authors_events_views_and_split(tmp_path: Path) -> None:
    path = write_mvmc(tmp_path)
    raw = np.load(path)
    assert (raw["X"].shape, raw["X"].dtype) == ((851, 6, 3, 32, 32), np.float32)
    assert (raw["y"].shape, raw["y"].dtype) == ((851, 6), np.int32)
    assert not raw["X"][raw["y"] == 3].any()
    data = load(str(path))
    assert [view.shape for view in data.views] == [(851, 3, 32, 32)] * 6
    assert all(view.dtype == np.float32 for view in data.views)
    assert ((data.y_dev == -1) == ~data.present).all()
    assert data.division["events"] == {"train": 578, "validation": 102, "test": 171}
    assert data.division["test"] == "given by the data"


def test_frames_of_one_video_are_doubted_under_the_authors_split_and_not_by_blocks_of_rows(tmp_path: Path) -> None:
    (sentence,) = doubts(load(str(write_mvmc(tmp_path))))
    assert "near-duplicate in training" in sentence
    (tmp_path / "mvmc_split.json").unlink()
    blocks = load(str(tmp_path / "MVMC.npz"), group_by="row:171", test_groups=["4"])
    assert np.flatnonzero(blocks.split == "test").tolist() == list(range(684, 851))
    share = near_duplicates(blocks)
    assert share is not None
    assert share < 0.2


def test_it_trains_through_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    path, out = write_mvmc(tmp_path, events=90), tmp_path / "bundle"
    words = ["train", path, "--out", out, "--config", tmp_path / "tiny.toml", "--epochs", "1", "--no-yardstick"]
    monkeypatch.setattr(sys, "argv", ["ddnn", *map(str, words)])
    with pytest.raises(SystemExit, match="0"):
        main()
    bundle = Bundle.open(out)
    bundle.verify()
    assert bundle.manifest.classes == ("car", "bus", "person")
    assert bundle.manifest.training.test["events"] == 18
