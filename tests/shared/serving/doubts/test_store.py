"""What a tier keeps on its disk: bounded, whole, and gone when it is deleted."""

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ddnn.policy import Doubts
from ddnn.serving.doubts.latest import LatestViews
from ddnn.serving.doubts.noted import Kind, Noted
from ddnn.serving.doubts.store import Store

MUCH = 1 << 30
ROOM = Doubts(events=1000)


def noted(name: str, kind: Kind = Kind.UNSURE, **given: object) -> Noted:
    return Noted(name.encode(), kind, {"label": 1, "confidence": np.float32(0.25)}, **given)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state" / "doubts.sqlite")


def names(store: Store) -> list[str]:
    return [row["name"] for row in store.rows(0, 1000)]


def test_what_is_kept_is_there_after_a_restart_with_its_view(store: Store, tmp_path: Path) -> None:
    view = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    kept = store.put([noted("a", view=view), noted("b")], ROOM, MUCH)
    assert (kept.kinds, kept.last) == ({"unsure": 2}, 2)
    again = Store(tmp_path / "state" / "doubts.sqlite")
    assert again.open() == kept
    row = again.row(b"a")
    assert row is not None
    assert (row["label"], row["confidence"], row["view"]) == (1, 0.25, True)
    file = again.view(b"a")
    assert file is not None
    (tmp_path / "a.npy").write_bytes(file)
    assert (np.load(tmp_path / "a.npy") == view).all()
    assert again.view(b"b") is None


def test_the_oldest_of_the_most_frequent_kind_goes(store: Store) -> None:
    store.put([noted(f"audit {n}", Kind.DISAGREEING) for n in range(3)], ROOM, MUCH)
    flood = [noted(f"degraded {n}", Kind.DEGRADED) for n in range(50)]
    kept = store.put(flood, Doubts(events=10), MUCH)
    assert kept.kinds == {"disagreeing": 3, "degraded": 7}
    assert names(store)[3:] == [f"degraded {n}" for n in range(43, 50)]


def test_bytes_are_bounded_by_the_policy_and_by_the_tier(store: Store) -> None:
    view = np.zeros((1, 100, 100), np.uint8)
    many = [noted(f"{n}", view=view) for n in range(20)]
    assert store.put(many, Doubts(events=100, bytes=55_000), MUCH).events == 5
    assert store.put(many, ROOM, 35_000).events == 3
    assert store.trim(ROOM, 0).events == 0


def test_what_is_too_old_goes_also_where_no_more_are_kept(store: Store) -> None:
    store.put([noted("old", at=time.time() - 100), noted("new")], ROOM, MUCH)
    assert store.trim(Doubts(events=0, age_s=50), MUCH).events == 1
    assert names(store) == ["new"]


def test_of_one_event_the_first_answer_stays_and_an_audit_counts_for_more(store: Store) -> None:
    store.put([noted("a", Kind.RANDOM)], ROOM, MUCH)
    store.put([Noted(b"a", Kind.DISAGREEING, {"label": 2})], ROOM, MUCH)
    store.put([noted("a", Kind.UNSURE, view=np.zeros(3, np.float32))], ROOM, MUCH)
    (row,) = store.rows(0, 10)
    assert (row["kind"], row["label"], row["view"]) == ("disagreeing", 2, True)


def test_what_is_deleted_is_not_in_the_file_any_more(store: Store, tmp_path: Path) -> None:
    secret = np.frombuffer(b"a face that may not stay" * 40, np.uint8)
    store.put([noted("a", view=secret), noted("b")], ROOM, MUCH)
    file = tmp_path / "state" / "doubts.sqlite"
    assert b"a face that may not stay" in file.read_bytes()
    assert store.delete([b"a", b"stranger"])[0] == 1
    assert b"a face that may not stay" not in b"".join(each.read_bytes() for each in file.parent.iterdir())
    gone, kept = store.delete(None)
    assert (gone, kept.events, kept.last) == (1, 0, 2)


def test_a_process_that_is_killed_in_the_middle_leaves_whole_events(tmp_path: Path) -> None:
    file = tmp_path / "doubts.sqlite"
    program = f"""
import numpy as np
from pathlib import Path
from ddnn.policy import Doubts
from ddnn.serving.doubts.noted import Kind, Noted
from ddnn.serving.doubts.store import Store
store, n = Store(Path({str(file)!r})), 0
while True:
    noted = [Noted(b"%d" % (n + k), Kind.UNSURE, {{"n": n + k}}, np.full(5000, k, np.uint8)) for k in range(4)]
    store.put(noted, Doubts(events=30), 1 << 30)
    n += 4
    print(n, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout
    for _ in range(15):
        written = int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()
    store = Store(file)
    kept = store.open()
    assert kept.events == 30
    assert kept.last >= written
    assert kept.last % 4 == 0
    for row in store.rows(0, 100):
        view = store.view(bytes.fromhex(row["id"]))
        assert view is not None
        assert len(view) == 5128


def test_a_damaged_file_is_put_aside(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "state" / "doubts.sqlite"
    file.parent.mkdir()
    file.write_bytes(b"no database at all" * 100)
    assert store.open().events == 0
    assert file.with_suffix(".damaged").exists()
    assert store.put([noted("a")], ROOM, MUCH).events == 1


def test_a_disk_that_takes_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises((OSError, sqlite3.Error)):
        Store(tmp_path / "file" / "doubts.sqlite").put([noted("a")], ROOM, MUCH)


def test_the_latest_views_are_bounded_in_bytes_and_are_copies() -> None:
    latest, batch = LatestViews(3000), np.zeros((5, 600), np.uint8)
    for number, view in enumerate(batch):
        latest.hold(b"%d" % number, view)
    assert len(latest) == 3
    batch[:] = 1
    taken = latest.take(b"4")
    assert taken is not None
    assert not taken.any()
    assert latest.take(b"4") is None
    assert latest.take(b"0") is None
    latest.hold(b"large", np.zeros(5000, np.uint8))
    assert len(latest) == 2
