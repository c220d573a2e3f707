"""The parts of a study that photographs have: thresholds chosen at the site, pictures instead of features."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddnn.bundle import Bundle
from ddnn.errors import BadConfig, BadInput
from ddnn_lab.plots.photographs import pictures, site
from ddnn_lab.studies import Study, run_study
from ddnn_lab.studies.pictures import _Kind
from ddnn_lab.studies.site import mixed

pytestmark = pytest.mark.slow
SIDE = 24


def photographs(folder: Path, events: int = 104, classes: int = 2) -> Path:
    """Noisy patterns, as files: half of the events of each class are the test's."""
    random = np.random.default_rng(0)
    patterns = random.integers(40, 216, (classes, SIDE, SIDE, 3))
    for event in range(2 * events):
        label, part = event % classes, ("train", "test")[event % (2 * classes) // classes]
        where = folder / part / f"class {label}" / f"{event:03}"
        where.mkdir(parents=True)
        for device in range(2):
            pixels = np.clip(patterns[label] + random.normal(0, 70, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(where / f"{device}.png")
    return folder


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The results of a study of small photographs and a small backbone, and its report."""
    folder = tmp_path_factory.mktemp("photographs")
    network = {
        "backbone": "foreign.cameras:Plain",
        "backbone_end": "blocks.2",
        "cuts": ["blocks.0"],
        "learn": "nothing",
        "shared_weights": True,
        "edge_fusion": "mean",
        "cloud_fusion": "mean",
        "input_mean": [127],
        "input_spread": [64],
        "device": {"bottleneck": 4, "input_size": 12},
        "cloud": {"takes": "views", "filters": [4], "flat": False, "halve": "all"},
    }
    still = dict.fromkeys(("shift", "rotate", "scale", "warp"), 0.0)
    study = Study.of(
        {
            "name": "small photographs",
            "data": str(photographs(folder / "shelf")),
            "size": str(SIDE),
            "seeds": [0],
            "network": network,
            "training": {"epochs": 2, "cut_epochs": 1, "batch": 32, **still},
            "run": ["joint", "whole", "site", "pictures"],
            "parts": {"pictures": {"sizes": [8, SIDE], "jpeg": [5], "webp": [50]}},
        }
    )
    results = run_study(study, folder / "study", command="ddnn bench accuracy small")
    assert not results["failed"]
    return results, (folder / "study" / "report.md").read_text()


@pytest.mark.long
def test_each_event_is_judged_by_thresholds_of_the_half_that_it_is_not_in(found: tuple[dict[str, Any], str]) -> None:
    sited = found[0]["parts"]["site"]
    assert sited["every_view"]["mean"] > 2 * 2 * 500  # two files of each event, on two links
    assert [point["asked"] for point in sited["points"]] == ["0.05", "0.1", "0.15", "0.2", "0.3", "0.4", "0.5", "0.75"]
    for point in sited["points"]:
        shares = [share["mean"] for share in point["exit_share"].values()]
        assert sum(shares) == pytest.approx(1)
        assert point["share"]["mean"] == pytest.approx(point["bytes"]["mean"] / sited["every_view"]["mean"])
        assert point["spent_of_asked"]["mean"] < 1.5
    bytes_alone = [exit["bytes"]["mean"] for exit in sited["exits"].values()]
    assert bytes_alone == sorted(bytes_alone)


@pytest.mark.long
def test_pictures_of_every_kind_are_beside_the_features(found: tuple[dict[str, Any], str]) -> None:
    tried = found[0]["parts"]["pictures"]
    kinds = [(point["kind"], point["size"], point["quality"]) for point in tried["points"]]
    assert kinds == [("jpeg", "8", "5"), ("jpeg", "24", "5"), ("webp", "8", "50"), ("webp", "24", "50")]
    assert tried["edge"]["bytes"]["mean"] == 4 * 6 * 6 / 8
    assert all(point["scan"]["mean"] <= point["file"]["mean"] for point in tried["points"])
    assert found[0]["parts"]["whole"]["exits"]["always"].keys() == {"local", "edge", "cloud"}


@pytest.mark.long
def test_the_report_has_their_tables_and_plots(found: tuple[dict[str, Any], str]) -> None:
    results, text = found
    for words in ("## Nothing lost at the cut", "## Thresholds chosen at the site", "## Pictures instead of features"):
        assert words in text
    assert "| JPEG of 8 pixels, quality 5 |" in text
    assert "![site](plots/site.png)" in text
    assert site(results["parts"]) is not None
    assert pictures(results["parts"]) is not None


def test_a_lot_between_two_exits_is_the_line_between_them() -> None:
    exits = {"local": (10.0, 0.6), "edge": (20.0, 0.5), "cloud": (110.0, 0.8)}
    alone = {exit: {"bytes": cost, "accuracy": right} for exit, (cost, right) in exits.items()}
    assert mixed(alone, 5.0) == 0
    assert mixed(alone, 20.0) == pytest.approx(0.62)
    assert mixed(alone, 60.0) == pytest.approx(0.7)
    assert mixed(alone, 200.0) == 0.8


def test_a_picture_of_few_pixels_comes_back_as_it_arrives() -> None:
    view = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE)).astype(np.uint8)
    arrived, file = _Kind("webp", 16, 60).file(view)
    assert arrived.shape == (3, 16, 16)
    assert _Kind("webp", 16, 60).bytes(view) == (len(file), len(file))
    assert _Kind("view", 0, 0).file(view)[0] is view


def test_a_size_for_data_that_are_no_photographs_is_a_sentence(tmp_path: Path) -> None:
    study = Study.of({"name": "a study", "data": "synthetic", "size": "32", "run": ["joint"]})
    with pytest.raises(BadConfig, match="size is '32', but synthetic is no folder or table of photographs"):
        run_study(study, tmp_path)


def test_a_bundle_that_is_there_is_not_trained_again(
    found: tuple[dict[str, Any], str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study = Study.of({**found[0]["study"], "run": ["joint", "site"]})
    made = next(run for run in found[0]["runs"] if run["part"] == "joint")
    folder = next(tmp_path_factory.getbasetemp().glob(f"photographs*/study/runs/{made['fingerprint'][:16]}"))
    again = run_study(study, tmp_path, bundle=Bundle.open(folder / "bundle"))
    assert not again["failed"]
    assert again["parts"]["joint"] == found[0]["parts"]["joint"]
    assert "training_seconds" not in again["runs"][0]
    assert "not trained here, but the bundle" in (tmp_path / "report.md").read_text()
    other = Study.of({**found[0]["study"], "seeds": [4]})
    with pytest.raises(BadInput, match="of another config, data or seed than the study's; expected one of seeds 4"):
        run_study(other, tmp_path / "other", bundle=Bundle.open(folder / "bundle"))
