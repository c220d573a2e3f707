"""`ddnn evaluate --fleet`: a running fleet answers as the offline run does."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.cli.measure import evaluate
from ddnn.errors import BadInput, Unauthorized, Unavailable
from ddnn.fleet.processes import LocalFleet
from ddnn.policy import Thresholds
from ddnn.task import entropy, probabilities
from ddnn.types import Exit

TOKEN = "between-the-tiers"

app = typer.Typer()
app.command()(evaluate)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shipped bundle with thresholds at which every exit but the device answers something."""
    folder = tmp_path_factory.mktemp("bundles") / "every-exit"
    shutil.copytree(shipped_bundle(), folder)
    shipped = Bundle.open(folder)
    policy = shipped.policy.model_copy(update={"criterion": "entropy"})

    def usual(exit: Exit) -> float:
        """Most golden events are surer than this; nearer to certainty so many are alike that they would tie."""
        p = probabilities(shipped.golden[f"{exit}_scores"][:, 0], policy.temperatures.of(exit))
        return round(float(np.quantile(entropy(p), 0.8)), 5)

    thresholds = Thresholds(local=usual(Exit.LOCAL), edge=usual(Exit.EDGE))
    policy.model_copy(update={"thresholds": thresholds}).write(folder)
    return Bundle.open(folder)


@pytest.fixture(scope="module")
def golden(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden events as a data file; of the last eighth of them some devices have no view."""
    arrays, devices = bundle.golden, len(bundle.topology.devices)
    events = len(arrays["y"])
    visible = np.ones((events, devices), np.bool_)
    visible[-events // 8 :, :2] = False
    parts: dict[str, Any] = {f"X_{i}": arrays[f"view_{i}"] for i in range(devices)}
    split = np.full(events, "test", "<U10")
    for label in np.unique(arrays["y"]):  # a data file needs some events of each class to train on
        split[np.flatnonzero(arrays["y"] == label)[0]] = "train"
    split[np.flatnonzero(split == "test")[0]] = "validation"
    file = tmp_path_factory.mktemp("data") / "golden.npz"
    np.savez(file, **parts, y=arrays["y"], visible=visible, split=split)
    return file


@pytest.fixture
def fleet(bundle: Bundle) -> Iterator[LocalFleet]:
    with LocalFleet(bundle.path, base_port=0, env={"DDNN_TOKEN": TOKEN}) as running:
        running.wait_until_ready()
        yield running


def run(bundle: Bundle, data: object, fleet: LocalFleet, *args: str) -> Result:
    return run_with(bundle, data, fleet.device_urls, "--token", TOKEN, *args)


def run_with(bundle: Bundle, data: object, urls: Sequence[str], *args: str) -> Result:
    return CliRunner().invoke(app, [str(bundle.path), str(data), "--fleet", ",".join(urls), *args])


@pytest.mark.long
def test_served_is_offline_and_a_dead_tier_is_told(bundle: Bundle, golden: Path, fleet: LocalFleet) -> None:
    whole = run(bundle, "mnist5k", fleet, "--json")
    assert whole.exit_code == 0, whole.output
    document = json.loads(whole.stdout)
    assert document["events"] == 1000
    ties = document["fleet"]["ties"]
    for said in ("label", "exit"):  # every event that differs is a tie of its own
        differing = sum(tie[f"{said}_served"] != tie[f"{said}_offline"] for tie in ties)
        assert document["fleet"][f"{said}_agreement"] == pytest.approx(1 - differing / 1000)
    assert len(ties) < 10
    assert document["fleet"]["max_probability_difference"] < 1e-4
    assert all(document["overall"]["exit_share"][exit] > 0 for exit in ("local", "edge", "cloud"))

    partly_seen = run(bundle, golden, fleet, "--json")
    assert partly_seen.exit_code == 0, partly_seen.output
    told = json.loads(partly_seen.stdout)["fleet"]
    assert (told["label_agreement"], told["exit_agreement"]) == (1, 1)

    stranger = run_with(bundle, golden, fleet.device_urls, "--token", "guessed")
    assert isinstance(stranger.exception, Unauthorized)
    assert "bearer token" in str(stranger.exception)

    backwards = run_with(bundle, golden, fleet.device_urls[::-1])
    assert isinstance(backwards.exception, BadInput)
    assert "expected device 0 at this place" in str(backwards.exception)

    fleet.kill("cloud")
    degraded = run(bundle, golden, fleet)
    assert degraded.exit_code == 1
    assert "degraded: " in degraded.stderr

    fleet.kill("device-2")
    dead = run(bundle, golden, fleet)
    assert isinstance(dead.exception, Unavailable)
    assert "cannot be reached" in str(dead.exception)
