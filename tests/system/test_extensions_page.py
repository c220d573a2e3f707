"""The example of shared/docs/extensions.md: its module and its configuration are trained and tuned."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PAGE = (Path(__file__).parents[2] / "shared" / "docs" / "extensions.md").read_text()


@pytest.mark.long
def test_the_example_trains_and_is_tuned(tmp_path: Path) -> None:
    for language, name in (("python", "mine.py"), ("toml", "mine.toml")):
        (block,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
        (tmp_path / name).write_text(block)
    y = np.arange(600) % 3
    views = np.random.default_rng(0).normal(y[:, None, None], 1.0, (600, 3, 5)).astype(np.float32)
    np.savez(tmp_path / "mine.npz", X=views, y=y)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    for command in (
        "train mine.npz --config mine.toml --epochs 1 --out mine",
        "tune mine mine.npz --criterion mine:doubt",
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ddnn", *command.split()],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
