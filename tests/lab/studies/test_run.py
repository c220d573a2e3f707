"""A whole study, every part, in one small run of each."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn_lab.plots.study import PLOTS
from ddnn_lab.studies import Study, run_study, study_file
from ddnn_lab.studies.job import Job
from ddnn_lab.studies.progress import StudyProgress

pytestmark = [pytest.mark.slow, pytest.mark.long]
QUICK = Study.read(study_file("quick")).quick()
PLOT_BYTES = 60_000


class Count(StudyProgress):
    """Remembers which runs began."""

    def __init__(self) -> None:
        self.began: list[str] = []

    def started(self, job: Job) -> None:
        self.began.append(job.name)


class Stop(StudyProgress):
    """Somebody presses Ctrl-C when so many epochs are over."""

    def __init__(self, after: int) -> None:
        self.after = after

    def moved(self, job: Job, progress: Mapping[str, Any]) -> None:
        if progress["epoch"] == self.after:
            raise KeyboardInterrupt


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def small(**changes: Any) -> Study:
    return Study.of({**QUICK.model_dump(mode="json"), "run": ["joint"], **changes})


def test_every_part_has_results(quick_study: Path) -> None:
    found = read(quick_study)
    assert found["format"] == 1
    assert [part for part, measured in found["parts"].items() if not measured] == []
    assert {run["part"] for run in found["runs"]} == {*found["study"]["run"]}
    joint = found["parts"]["joint"]
    assert joint["exits"]["overall"]["accuracy"]["low"] is not None
    assert len(joint["subsets"]) == 63
    assert found["parts"]["separate_exits"]["overall"]["difference"]["values"]
    assert found["parts"]["ablations"]["no device dropout"]["difference"]["overall"]["values"]


def test_every_table_is_in_the_report_with_the_command_and_the_baselines(quick_study: Path) -> None:
    text = (quick_study / "report.md").read_text()
    for words in (
        "ddnn bench accuracy quick --quick",
        "majority class",
        "presence mask only",
        "1-nearest neighbour",
        "linear, all views",
        "best single device, trained for itself",
        "vote of separately trained devices",
        "cloud exit, trained for itself",
        "uncut float network, all raw views",
        "cloud only",
        "local only",
        "random offload",
        "oracle",
        "JPEG, quality 10",
        "near-duplicate",
        "## One device lost",
        "All 63 subsets",
        "## Devices added",
        "## The local exit's threshold",
        "## Filters sent up",
        "## Aggregation",
        "## Ablations",
        "## Time",
        "Seeds 0;",
    ):
        assert words in text, words
    assert "nan" not in text
    assert "Not made" not in text


def test_every_plot_is_drawn_and_small(quick_study: Path) -> None:
    drawn = {file.stem: file.stat().st_size for file in (quick_study / "plots").iterdir()}
    assert drawn.keys() == PLOTS.keys() - {"site", "pictures"}  # those of photographs
    assert max(drawn.values()) < PLOT_BYTES


def test_what_is_equal_but_for_rounding_is_drawn(quick_study: Path) -> None:
    results = read(quick_study)
    share = 100 * (82 / 86)
    assert sum([share] * 3) / 3 < share  # as far as this mean of equals
    measured = next(each for each in results["parts"]["without"].values() if each)
    measured["exits"]["overall"]["accuracy"]["mean"] = 82 / 86
    results["parts"]["without"] = {str(device): measured for device in range(3)}
    assert PLOTS["lost"](results["parts"]) is not None


def test_what_is_made_is_not_made_again(quick_study: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(quick_study, tmp_path / "copy"))
    count = Count()
    found = run_study(QUICK, folder, progress=count)
    assert count.began == []
    assert found["parts"] == read(quick_study)["parts"]


def test_a_lost_measure_is_measured_again_without_training(quick_study: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(quick_study, tmp_path / "copy"))
    (votes,) = (file for file in folder.glob("runs/*/votes.json") if (file.parent / "subsets.json").exists())
    made = (votes.parent / "run.json").stat().st_mtime_ns
    before = votes.read_text()
    votes.write_text('{"version": 0, "found": {}}')
    count = Count()
    run_study(small(), folder, progress=count)
    assert count.began == ["joint, seed 0"]
    assert votes.read_text() == before
    assert (votes.parent / "run.json").stat().st_mtime_ns == made


def test_a_damaged_network_says_which_folder_to_delete(quick_study: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(quick_study, tmp_path / "copy"))
    (votes,) = (file for file in folder.glob("runs/*/votes.json") if (file.parent / "subsets.json").exists())
    votes.unlink()
    (votes.parent / "bundle" / "manifest.json").write_text("{}")
    failed = run_study(small(), folder)["failed"]
    assert failed["joint, seed 0"].startswith("manifest.json")
    assert failed["joint, seed 0"].endswith(f"delete {votes.parent} and the run is made again")


def test_an_interrupted_run_goes_on_after_its_last_epoch_and_ends_alike(tmp_path: Path) -> None:
    study = small(training={"epochs": 3, "batch": 32}, events=120)
    run_study(study, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "broken", progress=Stop(2))
    assert not list((tmp_path / "broken").glob("runs/*/bundle"))
    found = run_study(study, tmp_path / "broken")
    (whole,), (broken,) = ([*(tmp_path / name).glob("runs/*/bundle")] for name in ("whole", "broken"))
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (whole, broken)]
    assert weights[0] == weights[1]
    assert found["runs"][0]["epochs"] == 3
    assert not list((tmp_path / "broken").glob("runs/*/training/checkpoint*"))


def test_several_workers_make_the_same_networks(quick_study: Path, tmp_path: Path) -> None:
    found = run_study(small(seeds=[0, 1]), tmp_path / "study", workers=2)
    assert not found["failed"]
    assert [run["seed"] for run in found["runs"]] == [0, 1]
    alone, beside = (
        folder / "runs" / found["runs"][0]["fingerprint"][:16] / "bundle" / "weights.safetensors"
        for folder in (quick_study, tmp_path / "study")
    )
    assert alone.read_bytes() == beside.read_bytes()


def test_parts_vary_the_studys_own_devices(tmp_path: Path) -> None:
    study = small(run=["added", "baselines"], network={"devices": [3, 1]}, events=120)
    found = run_study(study, tmp_path / "study")
    devices = {run["label"]: run["config"]["network"]["devices"] for run in found["runs"] if "config" in run}
    worst = [3, 1][int(found["parts"]["added"]["order"][0])]
    assert devices == {"joint": [3, 1], "the worst device": [worst]}  # all of them are the joint network again
    assert len(found["parts"]["baselines"]["linear_each"]["accuracy"]) == 2
    assert "2 devices" in found["data"]["described"]
    report = (tmp_path / "study" / "report.md").read_text()
    assert "## Devices added, worst first" in report
    assert "runs: not tuned, careful thresholds instead (" in report


def test_each_seed_may_have_a_fold_of_its_own(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    y = np.tile(np.arange(3), 80)
    views = random.normal(y[:, None, None], 0.5, (240, 2, 5)).astype(np.float32)
    np.savez(tmp_path / "own.npz", X=views, y=y, subject=np.arange(240) // 40)
    study = small(
        data=str(tmp_path / "own.npz"), group_by="subject", folds=[[0], [1], [2]], every_fold=False, seeds=[0, 1]
    )
    found = run_study(study, tmp_path / "study")
    groups = [Bundle.open(folder).manifest.training.data["source"]["test_groups"] for folder in _bundles(tmp_path)]
    assert sorted(groups) == [["0"], ["1"]]
    assert len(found["parts"]["joint"]["exits"]["overall"]["accuracy"]["values"]) == 2
    every = run_study(small(**{**study.model_dump(mode="json"), "every_fold": True, "seeds": [0]}), tmp_path / "study")
    assert len(every["parts"]["joint"]["exits"]["overall"]["accuracy"]["values"]) == 3


def test_an_exit_trained_apart_learns_from_its_own_labels_alone(quick_study: Path) -> None:
    configs = {run["label"]: run["config"]["training"] for run in read(quick_study)["runs"] if "config" in run}
    for exit in ("local", "edge", "cloud"):
        measured = configs[f"{exit} exit alone"]
        assert {key: measured[f"{key}_weight"] for key in ("device", "local", "edge", "cloud")} == {
            **dict.fromkeys(("device", "local", "edge", "cloud"), 0.0),
            exit: 1.0,
        }
        assert measured["distil"] == 0


def _bundles(folder: Path, study: str = "study") -> list[Path]:
    return sorted((folder / study).glob("runs/*/bundle"))
