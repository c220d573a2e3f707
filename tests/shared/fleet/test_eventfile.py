"""Event files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.errors import BadData
from ddnn.fleet.events import read_events

SHAPE = (1, 2, 3)


def test_one_event_has_devices_in_front(tmp_path: Path) -> None:
    whole = np.arange(24, dtype=np.uint8).reshape(4, *SHAPE)
    np.savez(tmp_path / "event.npz", X=whole)
    (event,) = read_events([tmp_path / "event.npz"], [SHAPE] * 4)
    assert [view is not None and view.tolist() for view in event.views] == whole.tolist()


def test_several_events_have_their_number_in_front(tmp_path: Path) -> None:
    whole = np.arange(48, dtype=np.uint8).reshape(2, 4, *SHAPE)
    np.savez(tmp_path / "events.npz", X=whole)
    events = read_events([tmp_path / "events.npz"], [SHAPE] * 4)
    assert len(events) == 2
    assert events[1].views[3] is not None
    assert events[1].views[3].tolist() == whole[1, 3].tolist()


def test_devices_may_differ_in_shape(tmp_path: Path) -> None:
    np.savez(tmp_path / "event.npz", X_0=np.zeros((2, 8), np.float32), X_1=np.ones(5, np.float32))
    (event,) = read_events([tmp_path / "event.npz"], [(2, 8), (5,)])
    assert [view is not None and view.shape for view in event.views] == [(2, 8), (5,)]


def test_a_device_without_its_array_has_no_view(tmp_path: Path) -> None:
    np.savez(tmp_path / "events.npz", X_0=np.zeros((2, 8), np.float32), X_2=np.ones((2, 5), np.float32))
    events = read_events([tmp_path / "events.npz"], [(8,), (8,), (5,)])
    assert [[view is None for view in event.views] for event in events] == [[False, True, False]] * 2


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"X": np.zeros((3, *SHAPE), np.uint8)}, r"X in .* has shape \(3, 1, 2, 3\); expected \(4, 1, 2, 3\)"),
        ({"X": np.zeros((4, 9), np.uint8)}, "X in .* has shape"),
        ({"X_0": np.zeros(SHAPE, np.uint8), "X_4": np.zeros(SHAPE, np.uint8)}, "X_4 is in .* some of X_0 to X_3"),
        ({"y": np.zeros(3)}, "has no view; expected X, or some of X_0 to X_3"),
    ],
)
def test_a_file_that_does_not_fit_gets_a_sentence(
    tmp_path: Path,
    arrays: dict[str, Any],
    sentence: str,
) -> None:
    np.savez(tmp_path / "event.npz", **arrays)
    with pytest.raises(BadData, match=sentence):
        read_events([tmp_path / "event.npz"], [SHAPE] * 4)


def test_a_file_that_is_no_npz_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "event.npz").write_text("hello")
    with pytest.raises(BadData, match=r"cannot be read as .npz .it is no zip archive"):
        read_events([tmp_path / "event.npz"], [SHAPE])


def test_photographs_are_one_event_a_device_each(tmp_path: Path) -> None:
    for name in ("left", "right"):
        (tmp_path / f"{name}.jpg").write_bytes(b"\xff\xd8\xff" + name.encode() + bytes(2))
    left, right = tmp_path / "left.jpg", tmp_path / "right.jpg"
    (event,) = read_events([left, right], [SHAPE] * 3)
    assert (event.name, event.label) == ("left", None)
    assert [None if view is None else view.item() for view in event.views] == [
        left.read_bytes(),
        right.read_bytes(),
        None,
    ]
    with pytest.raises(BadData, match="there are 2 photographs for 1 devices"):
        read_events([left, right], [SHAPE])
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(BadData, match=r"notes.txt is no JPEG, PNG or WebP; expected photographs alone"):
        read_events([left, tmp_path / "notes.txt"], [SHAPE] * 3)
    with pytest.raises(BadData, match=r"missing.jpg does not exist"):
        read_events([tmp_path / "missing.jpg"], [SHAPE])
