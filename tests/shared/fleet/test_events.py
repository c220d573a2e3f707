"""Where played events come from."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from ddnn.bundle import Bundle
from ddnn.cli.ask import play
from ddnn.data import load
from ddnn.errors import BadData
from ddnn.evaluation.source import load_for
from ddnn.fleet.events import events_of

app = typer.Typer()
app.command()(play)


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Path:
    """90 events of the tiny bundle's devices, in nine groups."""
    rng = np.random.default_rng(0)
    views: dict[str, Any] = {
        f"X_{n}": rng.integers(0, 256, size=(90, *spec.view.shape)).astype(spec.view.numpy_dtype)
        for n, spec in enumerate(tiny_bundle.topology.devices)
    }
    file = tmp_path_factory.mktemp("data") / "grouped.npz"
    np.savez(file, **views, y=np.arange(90) % 3, who=np.arange(90) // 10)
    return file


@pytest.fixture
def trained_on_seven_groups(copied_bundle: Path, grouped: Path) -> Bundle:
    """The tiny bundle, said to be trained on `grouped` but for its last two groups."""
    data = load(str(grouped), group_by="who", test_groups=["7", "8"], seed=5)
    bundle = Bundle.open(copied_bundle)
    recorded = {"source": dict(data.source), "fingerprint": data.fingerprint}
    training = bundle.manifest.training.model_copy(update={"data": recorded})
    manifest = Bundle.seal(copied_bundle, bundle.manifest.model_copy(update={"training": training}))
    bundle.policy.model_copy(update={"bundle": manifest.fingerprint}).write(copied_bundle)
    return Bundle.open(copied_bundle)


def run(*args: object) -> str:
    nowhere = ",".join(["http://127.0.0.1:1"] * 6)
    return (
        CliRunner()
        .invoke(app, [*map(str, args), "--device", nowhere, "--count", "20", "--rate", "1000", "--json"])
        .stderr
    )


def test_played_test_events_are_those_that_training_never_saw(trained_on_seven_groups: Bundle, grouped: Path) -> None:
    played = re.findall(r"(?m)^ *(#\d+)", run(trained_on_seven_groups.path, "--data", grouped))
    assert sorted(played) == [f"#{row}" for row in range(70, 90)]


def test_a_split_that_is_not_that_of_training_is_said(
    trained_on_seven_groups: Bundle, grouped: Path, tmp_path: Path
) -> None:
    renamed = shutil.copy(grouped, tmp_path / "renamed.npz")
    assert "note: the bundle was trained on renamed with another" in run(
        trained_on_seven_groups.path, "--data", renamed
    )


def test_events_must_fit_the_bundle(tiny_bundle: Bundle, tmp_path: Path) -> None:
    data = load_for(tiny_bundle, "synthetic")
    assert len(events_of(tiny_bundle, data, "all")) == len(data)
    np.savez(tmp_path / "two.npz", X=np.zeros((90, 2, 4), np.float32), y=np.arange(90) % 3)
    with pytest.raises(BadData, match="has 2 devices; the bundle was trained with 6"):
        events_of(tiny_bundle, load(str(tmp_path / "two.npz")))
