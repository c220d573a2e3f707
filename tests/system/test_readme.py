"""Every command of the README that can run runs: `sh` and `python` blocks, against a fleet and a small data file."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.bundle import shipped_bundle
from ddnn.fleet.addresses import HOST, is_free, ports
from ddnn.fleet.processes import LocalFleet

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def base_port() -> Iterator[int]:
    """Base port of a fleet of the shipped bundle; the README's own ports may be in use."""
    base = next(base for base in range(20_000, 30_000, 100) if all(map(is_free, ports(base, 6).values())))
    with LocalFleet(shipped_bundle(), base_port=base) as fleet:
        fleet.wait_until_ready()
        yield base


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README's commands expect: the shipped bundle, and somebody's data."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "shared").symlink_to(ROOT / "shared")
    chance = np.random.default_rng(0)
    y = np.arange(600) % 3
    views = chance.normal(size=(600, 2, 5)).astype(np.float32) + y[:, None, None]
    np.savez(folder / "mine.npz", X=views.astype(np.float32), y=y)
    return folder


def adapted(text: str, base_port: int) -> str:
    """The same commands on this interpreter and this fleet, with one epoch of training."""
    text = text.replace(".venv/bin/ddnn", f"{sys.executable} -m ddnn")
    text = text.replace(f"http://{HOST}:80", f"http://{HOST}:{base_port // 100}")
    text = re.sub(r"ddnn (infer|play|status|doctor)\b", rf"ddnn \1 --base-port {base_port}", text)
    return re.sub(r"(ddnn train .*)", r"\1 --epochs 1", text)


def of_a_minute(block: str) -> Any:
    """As a parameter; those that train, and use what was trained, are long."""
    return pytest.param(block, marks=pytest.mark.long if "mine" in block else (), id=block.split("\n", 1)[0][:40])


@pytest.mark.parametrize("block", [of_a_minute(block) for block in blocks("sh")])
def test_a_command_of_the_readme_runs(block: str, base_port: int, folder: Path) -> None:
    script = "set -e\n" + adapted(block, base_port)
    env = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert '"error"' not in done.stdout
    if "curl" in block:
        assert done.stdout.count('"name":"label"') == max(1, block.count("2 3 5") * 4)


@pytest.mark.parametrize("block", blocks("python"))
def test_the_python_of_the_readme_runs(block: str, base_port: int, folder: Path) -> None:
    code = adapted(block, base_port)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_readme_names_files_that_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert len(links) >= 6
    assert [link for link in links if not (ROOT / link).exists()] == []
