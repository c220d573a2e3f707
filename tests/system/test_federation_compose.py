"""A federated training as containers, of the file of `ddnn deploy federation`: one is killed, one comes late."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.data import load
from ddnn.fleet.events import golden_events
from ddnn.training.federated import parts_of

pytestmark = [pytest.mark.compose, pytest.mark.long]

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = "ddnn-federation-test"
TINY: Final = "[network.device]\nfilters = [4]\n[network.edge]\nwidths = [8]\n[network.cloud]\nwidths = [8]\n"
SITES: Final = ("first", "second", "third", "late")
ROUNDS, SILENT_S = 10, 45
"""After so long without a word the killed site is lost; the late one has that long to start."""
LONGEST_S: Final = 3000.0
PATIENCE_S: Final = 600.0


class Federation:
    """The file in a folder, as `docker compose` runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str) -> str:
        command = ["docker", "compose", "--project-name", PROJECT]
        command += ["--file", str(self.folder / "federation.yml"), *words]
        environment = {**os.environ, "DDNN_SOURCE": str(ROOT), "DDNN_TOKEN": "a-token-of-this-test-alone"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout[-2000:]} {done.stderr[-4000:]}"
        return done.stdout

    def states(self) -> dict[str, dict[str, Any]]:
        """All containers, ended ones too, by service."""
        return {each["Service"]: each for each in map(json.loads, self("ps", "--all", "--format", "json").splitlines())}

    def said(self, service: str) -> str:
        """What a service has said."""
        return self("logs", "--no-log-prefix", service)

    def wait_for(self, service: str, words: str) -> None:
        """Until it has said that."""
        until = time.monotonic() + PATIENCE_S
        while words not in (said := self.said(service)):
            assert "error: " not in said, said
            assert time.monotonic() < until, said
            time.sleep(0.5)


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    """Four sites, with digits of their own each, and a server with none to learn from."""
    tmp_path.parent.chmod(0o755)
    tmp_path.chmod(0o755)
    data = load("mnist5k", grid="3x2")
    parts = parts_of(data, len(SITES), "iid", 0)
    for name, rows in zip(("public", *SITES), (np.flatnonzero(data.split != "train"), *parts), strict=True):
        own = data.take(rows)
        views = np.stack([np.asarray(view) for view in own.views], axis=1)
        np.savez(tmp_path / f"{name}.npz", X=views, y=own.y, split=own.split, classes=np.array(own.classes))
        (tmp_path / f"{name}.npz").chmod(0o644)
    (tmp_path / "tiny.toml").write_text(TINY)
    command = [sys.executable, "-m", "ddnn", "deploy", "federation", "public.npz", "--config", "tiny.toml"]
    command += [word for name in SITES for word in ("--site", f"{name}={name}.npz")]
    command += ["--", "--sites", "3", "--rounds", str(ROUNDS), "--silent", str(SILENT_S)]
    written = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True).stdout
    (tmp_path / "federation.yml").write_text(written)
    federation = Federation(tmp_path)
    federation("down", "--volumes", "--timeout", "5")  # what a test that was ended has left
    try:
        yield federation
    finally:
        federation("down", "--volumes", "--rmi", "all", "--timeout", "5")


def test_containers_learn_together_while_one_is_killed_and_one_comes_late(
    federation: Federation, tmp_path: Path
) -> None:
    federation("build", "server")
    federation("create", "--no-build")
    federation("up", "--detach", "--no-build", "server", "first", "second", "third")
    federation.wait_for("first", "round 1: ")
    federation("kill", "second")
    federation("up", "--detach", "--no-build", "--no-deps", "late")
    until = time.monotonic() + PATIENCE_S
    while (states := federation.states())["server"]["State"] != "exited":
        assert time.monotonic() < until, federation.said("server")
        time.sleep(1)
    assert states["server"]["ExitCode"] == 0, federation.said("server")
    federation("cp", "server:/out/bundle", str(tmp_path / "bundle"))
    federation("cp", "server:/out/bundle.run/metrics.jsonl", str(tmp_path / "metrics.jsonl"))

    rounds = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(rounds) == ROUNDS
    assert rounds[0]["drawn"] == ["first", "second", "third"]
    assert any(each["lost"] == ["second"] for each in rounds)
    assert rounds[-1]["drawn"] == ["first", "late", "third"]
    assert rounds[-1]["score"] > rounds[0]["score"]
    bundle = Bundle.open(tmp_path / "bundle")
    bundle.verify()
    assert len(golden_events(bundle).y)

    for name in ("first", "third", "late"):
        assert "training is over" in federation.said(name)


def test_a_site_sees_its_own_events_alone_and_cannot_change_them(federation: Federation) -> None:
    """Of the file, by the engine's own reading of it."""
    services = json.loads(federation("config", "--format", "json"))["services"]
    for name in SITES:
        mounted = {
            each["source"]: each.get("read_only") for each in services[name]["volumes"] if each["type"] == "bind"
        }
        assert mounted == {str(federation.folder / f"{name}.npz"): True}
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
    assert not services["identity"].get("networks")
