"""A federated training on Flower's own processes: its bundle is that of our network; a killed and a late SuperNode.

Flower and the tests want packages of other versions: it has an environment of its own, whose Python is
`DDNN_FLOWER_PYTHON` (`python -m venv it`, `it/bin/pip install torch==2.13.0 -e '.[flower,private]'`).
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from ddnn.bundle import Bundle
from ddnn.training.run import METRICS_FILE

PYTHON = os.environ.get("DDNN_FLOWER_PYTHON", "")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not PYTHON, reason="DDNN_FLOWER_PYTHON names no Python with the extra `flower`"),
]

TINY = "[network.device]\nfilters = [4]\n[network.edge]\nwidths = [8]\n[network.cloud]\nwidths = [8]\n"
PATIENCE_S = 400.0


class Flower:
    """A SuperLink over TLS, and what is started beside it; all end with the block."""

    def __init__(self, folder: Path, ends: ExitStack) -> None:
        self.folder, self._ends, self._environment = folder, ends, {
            **os.environ, "FLWR_HOME": str(folder / "home"), "FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(PYTHON).parent}:{os.environ['PATH']}", "PYTHONPATH": "",
        }  # fmt: skip
        authority = trustme.CA()
        mine = authority.issue_cert("127.0.0.1", "localhost")
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        mine.private_key_pem.write_to_path(str(folder / "key.pem"))
        mine.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
        (folder / "tiny.toml").write_text(TINY)
        (port,) = free_ports(1)
        self._link = f"127.0.0.1:{port}"
        self.start(
            "superlink", "flower-superlink", "--port", str(port), "--disable-runtime-dependency-installation",
            "--ssl-ca-certfile", "ca.pem", "--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem",
        )  # fmt: skip
        (folder / "home").mkdir()
        here = f'[superlink.here]\naddress = "{self._link}"\nroot-certificates = "{folder / "ca.pem"}"\n'
        (folder / "home" / "config.toml").write_text(f'[superlink]\ndefault = "here"\n\n{here}')

    def start(self, name: str, *command: str) -> "subprocess.Popen[bytes]":
        """A process of Flower's environment, in a session of its own; what it says is in a file of its name."""
        said = self._ends.enter_context((self.folder / f"{name}.log").open("wb"))
        program = [str(Path(PYTHON).parent / command[0]), *command[1:]]
        options: dict[str, Any] = {"cwd": self.folder, "env": self._environment, "start_new_session": True}
        process = subprocess.Popen(program, stdout=said, stderr=said, **options)
        self._ends.callback(ended, process)
        return process

    def node(self, name: str) -> "subprocess.Popen[bytes]":
        """A SuperNode whose site has this name."""
        (port,) = free_ports(1)
        return self.start(
            name, "flower-supernode", "--root-certificates", "ca.pem", "--superlink", self._link,
            "--port", str(port), "--node-config", f'data="synthetic" name="{name}"',
        )  # fmt: skip

    def run(self, *words: str) -> "subprocess.Popen[bytes]":
        """`flwr run` of an app with these words of `ddnn federate serve`."""
        self.start("app", "ddnn", "federate", "flower", "app", "--", *words).wait(PATIENCE_S)
        return self.start("run", "flwr", "run", "app", "here", "--stream")

    def waited(self, name: str, pattern: str) -> re.Match[str]:
        """What a process has said, once it matches."""
        until = time.monotonic() + PATIENCE_S
        while not (match := re.search(pattern, said := (self.folder / f"{name}.log").read_text())):
            assert "error: " not in said, said
            assert time.monotonic() < until, said
            time.sleep(0.2)
        return match


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    with ExitStack() as ends:
        found = [ends.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in found]


def ended(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


@contextmanager
def flower(folder: Path) -> Iterator[Flower]:
    with ExitStack() as ends:
        yield Flower(folder, ends)


def records(out: Path) -> list[dict[str, Any]]:
    """The lines of metrics of a run."""
    return [json.loads(line) for line in (out.with_name(f"{out.name}.run") / METRICS_FILE).read_text().splitlines()]


def served(folder: Path, *words: str) -> Path:
    """The bundle of our own network, by sites of the same names."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DDNN_TOKEN": "a-token-of-this-test-alone"}
    with ExitStack() as ends:

        def start(name: str, *command: str) -> "subprocess.Popen[bytes]":
            said = ends.enter_context((folder / f"own-{name}.log").open("wb"))
            options: dict[str, Any] = {"cwd": folder, "env": environment, "start_new_session": True}
            process = subprocess.Popen(
                [sys.executable, "-m", "ddnn", "federate", *command], stdout=said, stderr=said, **options
            )
            ends.callback(ended, process)
            return process

        server = start("server", "serve", *words, "--port", "0")
        until = time.monotonic() + PATIENCE_S
        while not (found := re.search(r"sites at (\S+)", (folder / "own-server.log").read_text())):
            assert time.monotonic() < until
            time.sleep(0.2)
        for name in ("one", "two"):
            start(name, "join", found[1], "synthetic", "--name", name)
        assert server.wait(PATIENCE_S) == 0, (folder / "own-server.log").read_text()
    return folder / words[words.index("--out") + 1]


def weights(bundle: Path) -> bytes:
    return (bundle / "weights.safetensors").read_bytes()


def test_a_killed_supernode_is_survived_and_a_late_one_takes_part(tmp_path: Path) -> None:
    with flower(tmp_path) as fleet:
        fleet.node("one")
        two = fleet.node("two")
        fleet.node("four")
        fleet.run("synthetic", "--out", "shelf", "--config", "tiny.toml", "--sites", "3", "--rounds", "8")
        fleet.waited("run", "round 1 of 8")
        ended(two)
        fleet.node("three")
        fleet.waited("run", "round 8 of 8")
        fleet.waited("run", "each exit as if it answered all")
    Bundle.open(tmp_path / "shelf").verify()
    made = records(tmp_path / "shelf")
    assert any("two" in record["lost"] for record in made)
    assert made[-1]["weights"].keys() == {"one", "three", "four"}
    assert "three" not in made[0]["drawn"]
    assert all(sum(record["weights"].values()) == pytest.approx(1) for record in made)


@pytest.mark.parametrize("more", [[], ["--method", "scaffold"], ["--secret"]], ids=["open", "scaffold", "secret"])
def test_the_bundle_is_that_of_our_own_network(tmp_path: Path, more: list[str]) -> None:
    words = ["synthetic", "--config", "tiny.toml", "--sites", "2", "--rounds", "3", *more, "--out"]
    with flower(tmp_path) as fleet:
        fleet.node("one")
        fleet.node("two")
        fleet.run(*words, "flower")
        fleet.waited("run", "each exit as if it answered all")
    own = served(tmp_path, *words, "own")
    assert [record["loss"] for record in records(tmp_path / "flower")] == [record["loss"] for record in records(own)]
    assert weights(tmp_path / "flower") == weights(own)
