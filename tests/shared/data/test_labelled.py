"""Events that are being labelled: a file that can be trained on, and whose labels change."""

from pathlib import Path

import numpy as np
import pytest

from ddnn.data import load
from ddnn.data.labelled import ABOUT, Labelled, read_labels
from ddnn.data.summary import doubts
from ddnn.errors import BadData, BadInput


def made(names: list[str], *, classes: tuple[str, ...] = ("cup", "jug", "pan"), side: int = 4) -> Labelled:
    count, rng = len(names), np.random.default_rng(len(names))
    views = tuple(rng.integers(0, 256, (count, 1, side, side)).astype(np.uint8) for _ in range(2))
    about = {name: np.zeros(count, np.int64) for name in ABOUT} | {"event": np.array(names)}
    return Labelled.fresh(views, np.ones((count, 2), np.bool_), classes, **about)


def test_what_is_labelled_can_be_loaded_and_the_rest_is_left_out_and_said(tmp_path: Path) -> None:
    file, events = tmp_path / "doubts.npz", made([f"event {n}" for n in range(60)])
    labelled, changed = events.set((f"event {n}", ("cup", "jug", "2")[n % 3]) for n in range(45))
    assert (changed, labelled.left) == (45, 15)
    labelled.write(file)
    data = load(str(file))
    assert len(data) == 45
    assert data.classes == ("cup", "jug", "pan")
    assert data.y.tolist() == [n % 3 for n in range(45)]
    assert (data.views[1] == events.views[1][:45]).all()
    assert any("15 events without a label" in sentence for sentence in doubts(data))


def test_an_event_stays_in_the_part_that_it_got_with_its_label() -> None:
    names = [f"event {n}" for n in range(100)]
    once, _ = made(names).set((name, "cup") for name in names[::2])
    parts = {part: int((once.split[::2] == part).sum()) for part in ("train", "validation", "test")}
    assert parts == {"train": 33, "validation": 7, "test": 10}
    twice, _ = once.set([(name, "jug" if n % 4 else "") for n, name in enumerate(names)])
    relabelled = [n for n in range(100) if n % 4 == 2]
    assert (twice.split[relabelled] == once.split[relabelled]).all()
    (first, _), (rare, _) = made(["a"]).set([("a", "pan")]), twice.joined(made(["b"])).set([("b", "pan")])
    assert first.split[0] == rare.split[-1] == "train"


def test_nothing_labelled_is_a_sentence(tmp_path: Path) -> None:
    made(["a", "b"]).write(tmp_path / "doubts.npz")
    with pytest.raises(BadData, match="y is -1, no label, in all 2 events"):
        load(str(tmp_path / "doubts.npz"))


def test_exported_again_a_file_keeps_its_labels_and_gets_what_is_new() -> None:
    before, _ = made(["a", "b"]).set([("a", "jug")])
    joined = before.joined(made(["b", "c", "d"]))
    assert joined.events == ["a", "b", "c", "d"]
    assert joined.y.tolist() == [1, -1, -1, -1]
    assert (joined.views[0][:2] == before.views[0]).all()
    for other in (made(["c"], classes=("cup", "jug")), made(["c"], side=5)):
        with pytest.raises(BadData, match="expected events of one network in one file"):
            before.joined(other)


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (("stranger", "cup"), "the event 'stranger' is not in this file; it holds 2"),
        (("a", "mug"), "the class is 'mug'; expected one of cup, jug, pan"),
        (("a", "3"), "the class is '3'"),
    ],
)
def test_an_event_or_class_that_is_not_there_is_refused(label: tuple[str, str], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        made(["a", "b"]).set([label])


def test_labels_come_from_a_table(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("label,event\njug,a\n,b\n")
    assert [*read_labels(table)] == [("a", "jug"), ("b", "")]
    table.write_text("name,class\n")
    with pytest.raises(BadInput, match="has the columns name, class; expected event and label"):
        read_labels(table)


def test_a_file_of_something_else_is_a_sentence(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", X=np.zeros((4, 2, 3)), y=np.zeros(4, np.int64))
    for name, says in (("other.npz", "split is missing"), ("none.npz", "does not exist")):
        with pytest.raises(BadData, match=f"{says}.*expected a file that `ddnn doubts export` made"):
            Labelled.read(tmp_path / name)
