"""Which runs a study has, and what it says of those that are not made."""

from pathlib import Path
from typing import Any

import pytest

from ddnn_lab.studies import Study, run_study, study_file
from ddnn_lab.studies.parts import part_variants
from ddnn_lab.studies.planner import Planner

QUICK = Study.read(study_file("quick")).quick()


def small(**changes: Any) -> Study:
    return Study.of({**QUICK.model_dump(mode="json"), "run": ["joint"], "events": 120, **changes})


def test_without_training_the_report_says_what_is_not_made(tmp_path: Path) -> None:
    found = run_study(small(), tmp_path / "study", report_only=True)
    assert found["missing"] == ["joint, seed 0"]
    assert "**Not made yet**, 1 runs: joint, seed 0." in (tmp_path / "study" / "report.md").read_text()


@pytest.mark.long
def test_a_run_that_cannot_be_made_is_told_and_the_others_are_made(tmp_path: Path) -> None:
    study = small(
        run=["joint", "ablations"],
        ablations=[{"name": "two devices of six", "network": {"edges": [[0, 1]]}}],
    )
    found = run_study(study, tmp_path / "study")
    assert "expected each of the devices" in found["failed"]["two devices of six, seed 0"]
    assert found["parts"]["joint"]
    assert "**Failed**: two devices of six, seed 0" in (tmp_path / "study" / "report.md").read_text()


def test_without_a_device_the_others_stay_at_their_edges(tmp_path: Path) -> None:
    planner = Planner(small(network={"devices": [5, 3, 1, 0], "edges": 2}, most=4), tmp_path)
    networks = [variant.network for variant in part_variants(planner, "without").values()]
    assert [network["devices"] for network in networks] == [[3, 1, 0], [5, 1, 0], [5, 3, 0], [5, 3, 1]]
    assert [network["edges"] for network in networks] == [[[0], [1, 2]]] * 2 + [[[0, 1], [2]]] * 2


def test_raw_views_have_no_devices_to_train_alone(tmp_path: Path) -> None:
    study = small(run=["separate_devices"], network={"device_section": False, "edge_section": False})
    found = run_study(study, tmp_path / "study")
    assert found["runs"] == found["missing"] == []
    assert not found["failed"]
