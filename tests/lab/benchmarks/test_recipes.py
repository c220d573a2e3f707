"""The table of recipes that fit themselves, from trainings by the command."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ddnn.export import sample_data
from ddnn_lab.benchmarks.recipes import main


@pytest.mark.long
def test_a_training_by_the_command_becomes_a_row_and_is_not_made_twice(tmp_path: Path) -> None:
    data = sample_data([(3,)] * 2, events=240)
    y = (data.views[0][:, 0] > np.median(data.views[0][:, 0])).astype(np.int64)
    data = replace(data, y=y)
    np.savez(tmp_path / "tiny.npz", X=np.stack(data.views, axis=1), y=data.y)
    for _ in range(2):
        main([str(tmp_path / "tiny.npz")], tmp_path, seeds=1, minutes=0)
    (row,) = json.loads((tmp_path / "recipes.json").read_text())["rows"]
    assert row["mean"]["best"] == max(
        row["mean"][name] for name in ("logistic regression", "random forest", "boosting")
    )
    assert row["mean"]["edge"] > 0.7
    assert "| tiny | 1 |" in (tmp_path / "recipes.md").read_text()
