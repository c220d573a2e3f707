"""The data contract: what loads, and the sentence for everything that does not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.data import load
from ddnn.errors import BadData

N = 40
Y = np.arange(N) % 4


def saved(folder: Path, **arrays: Any) -> str:
    path = folder / "mine.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return str(path)


def good(**changes: Any) -> dict[str, Any]:
    return {"X": np.zeros((N, 3, 5), np.float32), "y": Y, **changes}


def test_equal_devices_come_as_one_array(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(N, 3, 2, 7)).astype(np.float16)
    data = load(saved(tmp_path, X=values, y=Y.astype(np.uint8)))
    assert [view.shape for view in data.views] == [(N, 2, 7)] * 3
    assert all(view.dtype == np.float32 for view in data.views)
    np.testing.assert_array_equal(data.views[1], values[:, 1].astype(np.float32))
    assert data.classes == ("0", "1", "2", "3")
    assert data.present.all()
    assert (data.y_dev == Y[:, None]).all()


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.int32, np.int64, np.uint64, ">f4", ">i2"])
def test_numbers_of_any_type_are_views(tmp_path: Path, dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 100, (N, 3, 5)).astype(dtype)
    data = load(saved(tmp_path, X=values, y=Y))
    assert data.views[0].dtype == np.float32
    np.testing.assert_array_equal(data.views[1], values[:, 1])


def test_booleans_are_bytes_of_0_and_1(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((N, 3, 5)) < 0.5
    data = load(saved(tmp_path, X=values, y=Y % 2 > 0))
    assert data.views[0].dtype == np.uint8
    np.testing.assert_array_equal(data.views[1], values[:, 1])
    assert data.classes == ("0", "1")


def test_numbers_near_a_million_that_vary_by_one_are_kept(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(1e6, 1.0, (N, 3, 5))
    data = load(saved(tmp_path, X=values, y=Y))
    np.testing.assert_allclose(data.views[0], values[:, 0], atol=0.04)


def test_labels_may_be_names(tmp_path: Path) -> None:
    names = np.array(["walk", "run", "sit", "lie"])
    data = load(saved(tmp_path, **good(y=names[Y])))
    assert data.classes == ("lie", "run", "sit", "walk")
    assert [data.classes[label] for label in data.y] == names[Y].tolist()
    data = load(saved(tmp_path, **good(y=names[Y], classes=names)))
    assert data.classes == tuple(names.tolist())
    assert (data.y == Y).all()


def test_a_missing_number_stays_missing_in_hidden_views_too(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(N, 3, 5))
    values[3, 1, 2], values[4, 0], values[5, 2, 0] = np.nan, np.nan, np.inf
    visible = np.ones((N, 3), bool)
    visible[4, 0] = False
    data = load(saved(tmp_path, X=values, y=Y, visible=visible))
    np.testing.assert_array_equal(np.stack(data.views, axis=1), values.astype(np.float32))


def test_unequal_devices_come_as_numbered_arrays(tmp_path: Path) -> None:
    views = {"X_0": np.zeros((N, 1, 8, 8), np.uint8), "X_1": np.zeros((N, 2, 9)), "X_2": np.zeros((N, 4), np.float32)}
    data = load(saved(tmp_path, **views, y=Y))
    assert [view.shape[1:] for view in data.views] == [(1, 8, 8), (2, 9), (4,)]
    assert [view.dtype.name for view in data.views] == ["uint8", "float32", "float32"]


def test_ten_numbered_arrays_keep_their_order(tmp_path: Path) -> None:
    data = load(saved(tmp_path, **{f"X_{i}": np.full((N, 1), i, np.float32) for i in range(11)}, y=Y))
    assert [view[0, 0] for view in data.views] == list(range(11))


def test_a_hidden_device_has_no_label_of_its_own(tmp_path: Path) -> None:
    visible = np.ones((N, 3), bool)
    visible[::2, 1] = False
    data = load(saved(tmp_path, **good(visible=visible, classes=np.array(["a", "b", "c", "d"]))))
    assert (data.y_dev[::2, 1] == -1).all()
    assert (data.y_dev[visible] >= 0).all()
    assert data.classes == ("a", "b", "c", "d")


def test_the_files_own_split_is_kept_and_validation_is_cut_from_its_training_part(tmp_path: Path) -> None:
    is_test = np.arange(N) >= 28
    data = load(saved(tmp_path, **good(is_test=is_test)))
    assert ((data.split == "test") == is_test).all()
    assert set(data.split[~is_test]) == {"train", "validation"}
    named = np.array(["train"] * 20 + ["validation"] * 8 + ["test"] * 12)
    assert (load(saved(tmp_path, **good(split=named, is_test=is_test))).split == named).all()


def test_the_fingerprint_is_of_the_content_alone(tmp_path: Path) -> None:
    first = load(saved(tmp_path, **good()), seed=0)
    again = load(saved(tmp_path, **good()), seed=9)
    other = load(saved(tmp_path, **good(X=np.ones((N, 3, 5), np.float32))))
    assert first.fingerprint == again.fingerprint == first.subset("test").fingerprint != other.fingerprint


def test_a_subset_keeps_rows_together(tmp_path: Path) -> None:
    values = np.arange(N, dtype=np.float32)[:, None, None] * np.ones((1, 3, 5), np.float32)
    part = load(saved(tmp_path, **good(X=values))).subset("validation")
    assert 0 < len(part) < N
    np.testing.assert_array_equal(part.views[2][:, 0], part.index)
    np.testing.assert_array_equal(part.y, part.index % 4)


BREACHES: list[tuple[dict[str, Any], str]] = [
    ({"y": None}, "y is missing"),
    ({"X": None}, "X is missing"),
    ({"X": None, "X_0": np.zeros((N, 3)), "X_2": np.zeros((N, 3))}, "X_0, X_2; expected X_0 to X_1"),
    ({"X_0": np.zeros((N, 3))}, "the arrays are X and X_0; expected X alone, or an array for each device"),
    ({"X": None, "X_0": np.zeros((N, 3)), "X_1": np.zeros((N - 1, 3))}, "X_1 has 39 events; expected 40"),
    ({"X": np.zeros((N, 3))}, r"X has shape \(40, 3\)"),
    ({"X": np.zeros((0, 3, 5)), "y": np.zeros(0, int)}, "which is empty"),
    ({"X": np.zeros((N, 3, 5), np.complex64)}, "X has type complex64; expected numbers"),
    ({"X": np.full((N, 3, 5), np.nan)}, "X holds NaN or infinity alone"),
    ({"X": np.full((N, 3, 5), 1e300)}, r"X holds 1e\+300; expected numbers up to 3.4e\+38"),
    ({"X": np.zeros((N, 15))}, r"one device with F numbers is X\[:, None\]"),
    ({"X": np.arange(N * 15.0).reshape(N, 3, 5) + 1.7e12}, r"X holds 1.7e\+12 ± .* in device 0, channel 0"),
    ({"X": np.arange(N * 15).reshape(N, 3, 5) + 2**40}, r"X holds 1.09951e\+12 ± .* in device 0, channel 0"),
    ({"X": None, "X_0": 1e-50 * np.arange(N * 15.0).reshape(N, 3, 5)}, r"X_0 holds .* in channel 0, which float32"),
    ({"y": np.array(["a", "b", "c", "d"])[Y], "classes": np.array(["a", "b", "c"])}, "y holds 'd'; expected some of"),
    ({"X": np.array([[None]])}, "X cannot be read .* no pickled objects"),
    ({"y": Y[:-1]}, r"y has shape \(39,\); expected \(40,\)"),
    ({"y": np.stack([Y] * 3, axis=1)}, r"y has shape \(40, 3\); expected \(40,\); .* go into y_dev"),
    ({"X": np.zeros((N, 6, 3, 32, 31)), "y": np.stack([Y] * 6, axis=1)}, r"y has shape \(40, 6\); expected \(40,\)"),
    ({"y": Y.astype(float)}, r"y has type float64; expected integers; if they are whole, y.astype\(int\)"),
    ({"y": Y - 2}, "y holds -2..1; expected -1"),
    ({"y": Y * 100_000}, "y holds 0..300000"),
    ({"y": np.zeros(N, int)}, "the one class 0; expected at least 2"),
    ({"y": np.array([None] * N)}, "y cannot be read"),
    ({"classes": np.array(["a", "b", "c"])}, "y holds label 3; expected 0..2"),
    ({"classes": np.array(["a", "b", "b", "c"])}, "a name twice"),
    ({"classes": np.arange(4)}, "classes has type int64"),
    ({"y_dev": np.zeros((N, 2), int)}, r"y_dev has shape \(40, 2\); expected \(40, 3\)"),
    ({"y_dev": np.full((N, 3), 4)}, "y_dev holds label 4; expected -1..3"),
    ({"visible": np.ones((N, 3), int)}, "visible has type int64"),
    ({"visible": np.zeros((N, 3), bool)}, "visible has 40 events that no device sees, first in row 0"),
    ({"split": np.array(["train"] * N)}, "leaves no events for test"),
    ({"split": np.array(["tset"] * N)}, "split holds 'tset'"),
    ({"split": np.zeros(N)}, "split has type float64"),
    ({"is_test": np.ones(N, bool)}, "leaves no events for train"),
    ({"is_test": np.ones(N, int)}, "is_test has type int64"),
    ({"split": np.array(["train", "validation", "test", "test"] * 10)}, "class 1 has no event in the training part"),
]


def test_who_learns_needs_no_tests_and_who_tests_nothing_to_learn_from(tmp_path: Path) -> None:
    learns = saved(tmp_path, **good(split=np.array(["train"] * N)))
    assert set(load(learns, splits=("train",)).split) == {"train"}
    tests = saved(tmp_path, **good(split=np.array(["validation", "test"] * (N // 2))))
    assert set(load(tests, splits=("validation", "test")).split) == {"validation", "test"}
    with pytest.raises(BadData, match=r"leaves no events for train out of 40; expected some$"):
        load(tests, splits=("train",))


@pytest.mark.parametrize(("change", "sentence"), BREACHES, ids=[sentence[:40] for _, sentence in BREACHES])
def test_a_breach_is_named(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadData, match=sentence):
        load(saved(tmp_path, **good(**change)))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"grid": "3x2"}, "grid 3x2 does not apply"),
        ({"group_by": "subject"}, "group-by names subject, which mine.npz does not hold; it holds X, y"),
        ({"group_by": "X"}, "X has type float32"),
        ({"test_groups": ["7"]}, "without a group-by"),
    ],
)
def test_an_argument_that_does_not_fit_is_named(tmp_path: Path, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadData, match=sentence):
        load(saved(tmp_path, **good()), **arguments)


def test_a_file_that_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    np.save(tmp_path / "bare.npy", Y)
    whole = Path(saved(tmp_path, **good())).read_bytes()
    (tmp_path / "short.npz").write_bytes(whole[:-60])
    (tmp_path / "flipped.npz").write_bytes(whole[:400] + b"\xff" + whole[401:])
    (tmp_path / "table.csv").write_text("1,2,0")
    for name, sentence in [
        ("table.csv", r"is a table; expected a .npz file: numpy.savez\("),
        ("none.npz", "does not exist"),
        ("text.npz", "cannot be read as .npz .it is no zip archive"),
        ("bare.npy", "one bare array"),
        ("short.npz", "cannot be read"),
        ("flipped.npz", "cannot be read"),
        ("", "holds no photographs, but bare.npy .in no class.; expected split/class/event/device.jpg"),
    ]:
        with pytest.raises(BadData, match=sentence):
            load(str(tmp_path / name))
