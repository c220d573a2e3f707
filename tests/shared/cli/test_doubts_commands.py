"""`ddnn doubts` without a fleet: what it refuses, and labels without a page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ddnn.cli.app import app
from ddnn.data.labelled import ABOUT, Labelled
from ddnn.errors import BadInput


def run(*args: object) -> Any:
    return CliRunner().invoke(app, [*map(str, args)], env={"DDNN_ADMIN_TOKEN": "may-fetch-the-doubts"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    about = {name: np.zeros(2, np.int64) for name in ABOUT} | {"event": np.array(["round 1=a", "b"])}
    labelled = Labelled.fresh((np.ones((2, 1, 4, 4), np.uint8),), np.ones((2, 1), np.bool_), ("cup", "jug"), **about)
    labelled.write(tmp_path / "doubts.npz")
    return tmp_path / "doubts.npz"


def test_labels_are_given_one_by_one_or_by_a_table_and_taken_away(file: Path) -> None:
    (file.parent / "labels.csv").write_text("event,label\nb,cup\n")
    result = run("doubts", "label", file, "--set", "round 1=a=jug", "--csv", file.parent / "labels.csv", "--json")
    assert json.loads(result.stdout)["labelled"] == 2
    assert Labelled.read(file).y.tolist() == [1, 0]
    assert "1 of 2 events labelled" in run("doubts", "label", file, "--set", "b=").stdout


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("label", "FILE", "--set", "b"), "--set is 'b'; expected EVENT=CLASS"),
        (("label", "FILE", "--set", "c=cup"), "the event 'c' is not in this file"),
        (("export", "doubts.txt"), "expected one that ends in .npz"),
        (("export", "/nowhere/at/all.npz"), "in a folder that exists"),
        (("delete",), "delete needs either event ids or --all"),
        (("delete", "a", "--all"), "delete needs either event ids or --all"),
        (("list", "--url", "http://127.0.0.1:9"), "no edge or device of this fleet answers"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(file: Path, args: tuple[str, ...], says: str) -> None:
    result = run("doubts", *(str(file) if arg == "FILE" else arg for arg in args))
    assert isinstance(result.exception, BadInput)
    assert says in str(result.exception)


def test_more_events_need_a_bundle_to_go_on_with(file: Path) -> None:
    result = run("train", "synthetic", "--also", file, "--out", file.parent / "bundle")
    assert isinstance(result.exception, BadInput)
    assert "--also adds events for a network to go on with" in str(result.exception)
