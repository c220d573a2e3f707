"""Folders and tables of photographs: what is where, what is absent, what is odd, and that views stay in a file."""

import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddnn.data import Dataset, dataset, load
from ddnn.data.photographs import Photographs, cache_folder, parse_size
from ddnn.data.stored import Stored
from ddnn.data.summary import Standard, describe, doubts
from ddnn.errors import BadData
from ddnn.picture import decode
from ddnn.training import Config, Loader, Trainer

SIZE = Photographs((3, 16, 16))
CLASSES = ("apple", "pear")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def photograph(path: Path, seed: int = 0, size: tuple[int, int] = (24, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def shelf(root: Path, events: int = 6, devices: int = 3) -> Path:
    for split in ("train", "test"):
        for label, name in enumerate(CLASSES):
            for event in range(events):
                for device in range(devices):
                    seed = hash((split, label, event, device)) % 1000
                    photograph(root / split / name / f"{event:03}" / f"{device}.jpg", seed)
    return root


def read(root: Path, **arguments: object) -> Dataset:
    return load(str(root), photographs=SIZE, **arguments)  # type: ignore[arg-type]


def test_folders_are_splits_classes_events_and_devices(tmp_path: Path) -> None:
    data = read(shelf(tmp_path / "photos"))
    assert (data.name, data.classes, len(data), data.devices) == ("photos", CLASSES, 24, 3)
    assert np.count_nonzero(data.split == "test") == 12
    assert np.count_nonzero(data.split == "validation") == 2, "cut out of training, by event"
    assert data.division["test"] == "given by the data"
    assert data.present.all()
    assert data.views[0].shape == (24, 3, 16, 16)
    assert not data.odd
    assert "3 of 3×16×16 uint8" in describe(data)


def test_a_view_is_what_serving_makes_of_the_same_file(tmp_path: Path) -> None:
    data = read(shelf(tmp_path / "photos"))
    file = tmp_path / "photos" / "train" / "pear" / "002" / "1.jpg"
    row = int(np.flatnonzero((data.split != "test") & (data.y == 1))[2])
    np.testing.assert_array_equal(data.views[1][row], decode(file.read_bytes(), (3, 16, 16), data.picture))


def test_views_need_not_be_square(tmp_path: Path) -> None:
    root = shelf(tmp_path / "photos", events=3)
    assert load(str(root), photographs=Photographs(parse_size("24x16"))).views[0].shape[1:] == (3, 16, 24)
    assert parse_size("96") == (3, 96, 96)
    for text in ("4", "96x", "96x4096", "big"):
        with pytest.raises(BadData, match="expected 8 to 1024 pixels"):
            parse_size(text)


def test_what_is_standardised_of_views_in_a_file_is_as_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = read(shelf(tmp_path / "photos"))
    memory = replace(data, views=tuple(np.asarray(view) for view in data.views))
    monkeypatch.setattr("ddnn.data.stored.ROOM", 16 * 16 * 3 * 5)
    standard = Standard(memory, elements=100)
    for rows in (slice(3, 20), np.array([5, 1, 7])):
        np.testing.assert_array_equal(standard(data, rows).values, standard(memory, rows).values)


def test_devices_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    root = shelf(tmp_path / "photos", devices=11)
    assert read(root).source["cameras"] == [str(device) for device in range(11)]


def test_one_camera_needs_no_folders_of_events(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for name in CLASSES:
            for number in range(4):
                photograph(tmp_path / "photos" / split / name / f"IMG_{number}.PNG", number)
    data = read(tmp_path / "photos")
    assert (data.devices, len(data)) == (1, 24)
    assert data.division["events"] == {"train": 8, "validation": 8, "test": 8}


def test_without_folders_of_splits_they_are_drawn(tmp_path: Path) -> None:
    for name in CLASSES:
        for event in range(10):
            photograph(tmp_path / "photos" / name / f"{event}" / "left.jpg", event)
    data = read(tmp_path / "photos")
    assert data.division["test"] == "at random within each class"
    assert set(data.split) == {"train", "validation", "test"}


def test_a_missing_view_is_an_absent_device(tmp_path: Path) -> None:
    root = shelf(tmp_path / "photos")
    (root / "train" / "apple" / "000" / "1.jpg").unlink()
    data = read(root)
    first = int(np.flatnonzero(data.split != "test")[0])
    assert data.present[first].tolist() == [True, False, True]
    assert data.y_dev[first].tolist() == [0, -1, 0]
    assert data.present.sum() == data.present.size - 1


def test_odd_files_are_counted_and_named(tmp_path: Path) -> None:
    root = shelf(tmp_path / "photos")
    (root / "LICENSE").write_text("free")
    (root / "train" / "apple" / "000" / "notes.txt").write_text("ripe")
    (root / "train" / "pear" / "001" / "2.jpg").write_bytes(b"\xff\xd8\xff no photograph")
    photograph(root / "train" / "pear" / "001" / "0.png")
    photograph(root / "train" / "pear" / "loose.jpg")
    (root / "train" / ".DS_Store").write_text("hidden")
    data = read(root)
    found = dict(line.split(" ", 1) for line in data.odd)
    assert found.keys() == {
        "LICENSE",
        "train/apple/000/notes.txt",
        "train/pear/001/2.jpg",
        "train/pear/001/0.png",
        "train/pear/loose.jpg",
    }
    assert "cannot be decoded" in found["train/pear/001/2.jpg"]
    assert "a second view of 0, beside 0.jpg" in found["train/pear/001/0.png"]
    assert data.present.sum() == data.present.size - 1
    assert doubts(data)[0].startswith("5 files left out: LICENSE (in no class), ")


def test_an_event_without_a_readable_view_is_none(tmp_path: Path) -> None:
    root = shelf(tmp_path / "photos", devices=1)
    (root / "train" / "apple" / "000" / "0.jpg").write_bytes(b"")
    data = read(root)
    assert len(data) == 23
    assert len(data.odd) == 1


def test_photographs_are_decoded_once_until_they_change(tmp_path: Path) -> None:
    root = shelf(tmp_path / "photos", events=3)
    calls: list[tuple[str, int, int]] = []
    first = read(root, progress=lambda *call: calls.append(call))
    assert calls[-1] == ("decoding photographs", 36, 36)
    calls.clear()
    again = read(root, progress=lambda *call: calls.append(call))
    assert not calls
    assert again.fingerprint == first.fingerprint
    changed = photograph(root / "train" / "apple" / "000" / "0.jpg", 999)
    os.utime(changed, ns=(1, 1))
    assert read(root, progress=lambda *call: calls.append(call)).fingerprint != first.fingerprint
    assert calls
    assert {file.suffix for file in cache_folder().iterdir()} == {".views", ".json"}


def test_what_was_not_used_for_a_month_is_forgotten(tmp_path: Path) -> None:
    read(shelf(tmp_path / "photos", events=3))
    old = list(cache_folder().iterdir())
    for file in old:
        os.utime(file, (0, 0))
    read(shelf(tmp_path / "others", events=3))
    assert len(list(cache_folder().iterdir())) == 2
    assert not any(file.exists() for file in old)


def test_views_stay_in_their_file_whatever_is_taken_of_them(tmp_path: Path) -> None:
    data = read(shelf(tmp_path / "photos"))
    test = data.subset("test").take(np.arange(4)).of_devices([2, 0])
    assert all(isinstance(view, Stored) for view in test.views)
    rows = np.flatnonzero(data.split == "test")[:4]
    np.testing.assert_array_equal(test.views[0], data.views[2][rows])
    np.testing.assert_array_equal(test.views[1][-1], data.views[0][rows[3]])
    np.testing.assert_array_equal(test.views[1][1:3], data.views[0][rows[1:3]])
    np.testing.assert_array_equal(test.views[0][np.array([True, False, False, True])], data.views[2][rows[[0, 3]]])
    one = test.views[0]
    assert (len(one), one.ndim, one.nbytes, one.dtype.name) == (4, 4, 4 * 3 * 16 * 16, "uint8")


def test_an_epoch_of_batches_takes_a_small_part_of_the_views_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "PIECE", 2**18)
    root = shelf(tmp_path / "photos", events=30)
    big = Photographs((3, 64, 64))
    load(str(root), photographs=big)
    tracemalloc.start()
    data = load(str(root), photographs=big)
    rows = np.flatnonzero(data.split == "train")
    events = sum(len(batch.y) for batch in Loader(data, rows, batch=4))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert events == len(rows)
    assert peak < sum(view.nbytes for view in data.views) / 4


def test_a_network_learns_from_a_folder(tmp_path: Path) -> None:
    data = read(shelf(tmp_path / "photos"))
    trainer = Trainer(Config().changed(epochs=1, batch=8), data)
    record = trainer.epoch()
    assert 0 <= record["score"] <= 1
    assert trainer.network.plan.views[0].picture == data.picture


def test_large_views_are_learnt_part_by_part_as_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load("synthetic", seed=1)
    config = Config.of({"network": {"blocks": "float"}, "training": {"device_dropout": 0.0, "distil": 0.0}})
    batch = next(iter(Loader(data, np.arange(32), batch=32, in_order=True)))

    def gradients(room: int) -> list[torch.Tensor]:
        monkeypatch.setattr("ddnn.data.stored.ROOM", room)
        trainer = Trainer(config, data, seed=0)
        torch.manual_seed(0)
        trainer.network.eval()  # so that no batch norm sees which events are together
        trainer._backward(batch)
        return [weight.grad.clone() for weight in trainer.network.parameters() if weight.grad is not None]

    whole, parts = gradients(2**23), gradients(6 * 144 * 8)
    assert len(whole) == len(parts) > 0
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def table(path: Path, rows: list[str], head: str = "event,device,path,label,split") -> Path:
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def rows_of_a_table(folder: Path, devices: int = 2) -> list[str]:
    rows = []
    for event in range(12):
        for device in range(devices):
            photograph(folder / "raw" / f"{event}-{device}.jpg", event)
            split = "test" if event >= 8 else "train"
            rows.append(f"e{event},cam{device},raw/{event}-{device}.jpg,{CLASSES[event % 2]},{split}")
    return rows


def test_a_table_names_events_devices_and_splits(tmp_path: Path) -> None:
    rows = rows_of_a_table(tmp_path)
    rows.append("e0,cam2,raw/gone.jpg,apple,train")
    data = read(table(tmp_path / "shelf.csv", rows))
    assert (data.name, data.devices, len(data)) == ("shelf", 3, 12)
    assert np.count_nonzero(data.split == "test") == 4
    assert not data.present[:, 2].any()
    assert data.odd == ("raw/gone.jpg (no such file or directory)",)


def test_a_table_needs_paths_and_labels_only(tmp_path: Path) -> None:
    rows = [",".join((row.split(",")[2], row.split(",")[3])) for row in rows_of_a_table(tmp_path)]
    data = read(table(tmp_path / "shelf.csv", rows, "path,label"))
    assert (data.devices, len(data)) == (1, 24)


def test_a_column_of_a_table_is_a_group(tmp_path: Path) -> None:
    rows = [f"{row.rsplit(',', 1)[0]},shop{index // 8}" for index, row in enumerate(rows_of_a_table(tmp_path))]
    file = table(tmp_path / "shelf.csv", rows, "event,device,path,label,shop")
    data = read(file, group_by="shop", test_groups=["shop2"])
    assert data.groups is not None
    assert set(data.groups[data.split == "test"]) == {"shop2"}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("e0,cam0,raw/1-0.jpg,apple,train", "event 'e0' has two views of device 'cam0'"),
        ("e0,cam9,raw/1-0.jpg,pear,train", "event 'e0' has the labels apple, pear"),
        ("e0,cam9,raw/1-0.jpg,apple,test", "event 'e0' has the splits test, train"),
        ("e0,cam9,,apple,train", "row 26: path is empty"),
        ("e0,cam9,raw/1-0.jpg,apple,later", "row 26: split is 'later'; expected train, validation, test"),
    ],
)
def test_a_mistake_in_a_table_is_a_sentence(tmp_path: Path, row: str, sentence: str) -> None:
    with pytest.raises(BadData, match=sentence):
        read(table(tmp_path / "shelf.csv", [*rows_of_a_table(tmp_path), row]))


def test_what_is_no_set_of_photographs_is_a_sentence(tmp_path: Path) -> None:
    root = shelf(tmp_path / "photos", events=3)
    for arguments, sentence in (
        ({"grid": "3x2"}, "grid 3x2 does not apply"),
        ({"group_by": "shop"}, "a folder of photographs; expected a table"),
    ):
        with pytest.raises(BadData, match=sentence):
            read(root, **arguments)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadData, match=r"holds no photographs; expected split/class/event/device\.jpg"):
        read(tmp_path / "empty")
    photograph(tmp_path / "single" / "train" / "apple" / "0" / "0.jpg")
    with pytest.raises(BadData, match="has the one class apple"):
        read(tmp_path / "single")
    for label in CLASSES:
        for event in range(40):
            photograph(tmp_path / "camera" / "train" / label / f"{event}" / f"IMG_{event}.jpg")
    with pytest.raises(BadData, match="the photographs of 80 events have 40 names"):
        read(tmp_path / "camera")


def test_a_bundle_s_classes_and_devices_are_found_by_their_names(tmp_path: Path) -> None:
    wanted = Photographs((3, 16, 16), classes=("fig", "pear", "apple"), devices=("2", "9", "0", "1"))
    data = load(str(shelf(tmp_path / "photos")), photographs=wanted)
    assert data.classes == ("fig", "pear", "apple")
    assert data.y[0] == 2
    assert data.present[0].tolist() == [True, False, True, True]
    with pytest.raises(BadData, match="has the class 'pear'; expected some of apple, fig"):
        load(str(tmp_path / "photos"), photographs=Photographs((3, 16, 16), classes=("apple", "fig")))
    with pytest.raises(BadData, match="has the device '2'; expected some of 0, 1"):
        load(str(tmp_path / "photos"), photographs=Photographs((3, 16, 16), devices=("0", "1")))


def test_photographs_for_a_bundle_may_be_test_events_of_one_class_alone(tmp_path: Path) -> None:
    photograph(tmp_path / "site" / "test" / "pear" / "0" / "1.jpg")
    data = load(str(tmp_path / "site"), photographs=Photographs((3, 16, 16), classes=CLASSES, devices=("0", "1")))
    assert (data.split.tolist(), data.y.tolist(), data.present.tolist()) == (["test"], [1], [[False, True]])
    with pytest.raises(BadData, match="site has no validation events"):
        data.subset("validation")


def test_a_cache_that_cannot_be_written_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BadData, match=r"cannot be kept in .*Not a directory.*XDG_CACHE_HOME"):
        read(shelf(tmp_path / "photos", events=3))
