"""A federated training on Flower's own processes: its bundle is that of our network; a killed and a late SuperNode.

Flower and the tests want packages of other versions: it has an environment of its own, whose Python is
`FLOWER_PYTHON` (`python -m venv it`, `it/bin/pip install torch==2.13.0 -e '.[flower,private]'`). With `-s`, what
both have cost is printed.
"""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trustme

from ddnn.bundle import Bundle
from ddnn.training.run import METRICS_FILE

PYTHON = os.environ.get("FLOWER_PYTHON", "")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not PYTHON, reason="FLOWER_PYTHON names no Python with the extra `flower`"),
]

TINY = "[network.device]\nfilters = [4]\n[network.edge]\nwidths = [8]\n[network.cloud]\nwidths = [8]\n"
PATIENCE_S = 500.0


class Wire:
    """A port that leads to another one, and counts the bytes of both directions."""

    def __init__(self, to: int, ends: ExitStack) -> None:
        self._to, self.bytes = to, 0
        self._listening = ends.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed, in the end
            while True:
                below, _ = self._listening.accept()
                above = socket.create_connection(("127.0.0.1", self._to))
                for one, other in ((below, above), (above, below)):
                    Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with one, suppress(OSError):  # the other end may be gone, too
            while data := one.recv(1 << 16):
                self.bytes += len(data)
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)


class Processes:
    """Those of one training, with a certificate; all end with the test; what each says is in a file of its name."""

    def __init__(self, folder: Path, ends: ExitStack) -> None:
        self.folder, self._ends = folder, ends
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "DDNN_TOKEN": "a-token-of-this-test-alone"}
        self.began = time.monotonic()
        folder.mkdir()
        authority = trustme.CA()
        mine = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        mine.private_key_pem.write_to_path(str(folder / "key.pem"))
        mine.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
        (folder / "tiny.toml").write_text(TINY)

    def start(self, name: str, *command: str) -> "subprocess.Popen[bytes]":
        """A process in a session of its own."""
        said = self._ends.enter_context((self.folder / f"{name}.log").open("wb"))
        options: dict[str, Any] = {"cwd": self.folder, "env": self.environment, "start_new_session": True}
        process = subprocess.Popen(command, stdout=said, stderr=said, **options)
        self._ends.callback(ended, process)
        return process

    def waited(self, name: str, pattern: str) -> re.Match[str]:
        """What a process has said, once it matches."""
        until = time.monotonic() + PATIENCE_S
        while not (match := re.search(pattern, said := (self.folder / f"{name}.log").read_text())):
            assert "error: " not in said, said
            assert time.monotonic() < until, said
            time.sleep(0.1)
        return match

    def over(self, name: str) -> float:
        """Wait until a server says that the bundle is made; the seconds since its first word of sites."""
        self.waited(name, "waiting for")
        began = time.monotonic()
        self.waited(name, "each exit as if it answered all")
        return time.monotonic() - began

    def records(self) -> list[dict[str, Any]]:
        """The rounds' lines of metrics; the bundle is whole."""
        Bundle.open(self.folder / "shelf").verify()
        return [json.loads(line) for line in (self.folder / "shelf.run" / METRICS_FILE).read_text().splitlines()]


class Flower(Processes):
    """A SuperLink over TLS, and its SuperNodes."""

    def __init__(self, folder: Path, ends: ExitStack) -> None:
        super().__init__(folder, ends)
        (port,) = free_ports(1)
        self.wire = Wire(port, ends)
        self.environment |= {
            "FLWR_HOME": str(folder / "home"), "FLWR_TELEMETRY_ENABLED": "0", "PYTHONPATH": "",
            "PATH": f"{Path(PYTHON).parent}:{os.environ['PATH']}",
        }  # fmt: skip
        self.start(
            "superlink", program("flower-superlink"), "--port", str(port), "--disable-runtime-dependency-installation",
            "--ssl-ca-certfile", "ca.pem", "--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem",
        )  # fmt: skip
        (folder / "home").mkdir()
        here = f'[superlink.here]\naddress = "127.0.0.1:{port}"\nroot-certificates = "{folder / "ca.pem"}"\n'
        (folder / "home" / "config.toml").write_text(f'[superlink]\ndefault = "here"\n\n{here}')
        self.waited("superlink", "Uvicorn running on")

    def node(self, name: str) -> "subprocess.Popen[bytes]":
        """A SuperNode whose site has this name."""
        (port,) = free_ports(1)
        return self.start(
            name, program("flower-supernode"), "--root-certificates", "ca.pem", "--superlink", self.wire.address,
            "--port", str(port), "--node-config", f'data="synthetic" name="{name}"',
        )  # fmt: skip

    def run(self, *words: str) -> None:
        """`flwr run` of an app with these words of `ddnn federate serve`."""
        made = self.start("app", program("ddnn"), "federate", "flower", "app", "--", *words)
        assert made.wait(PATIENCE_S) == 0, (self.folder / "app.log").read_text()
        self.start("run", program("flwr"), "run", "app", "here", "--stream")


def program(name: str) -> str:
    """One of Flower's environment."""
    return str(Path(PYTHON).parent / name)


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


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as ends:
        yield ends


def test_a_killed_supernode_is_survived_and_a_late_one_takes_part(tmp_path: Path, ends: ExitStack) -> None:
    fleet = Flower(tmp_path / "flower", ends)
    fleet.node("one")
    two = fleet.node("two")
    fleet.run("synthetic", "--out", "shelf", "--config", "tiny.toml", "--sites", "2", "--rounds", "8")
    fleet.waited("run", "round 1 of 8")
    ended(two)
    fleet.node("three")
    fleet.over("run")
    made = fleet.records()
    assert len(made) == 8
    assert any("two" in record["lost"] for record in made)
    assert made[0]["drawn"] == ["one", "two"]
    assert made[-1]["weights"].keys() == {"one", "three"}
    assert all(sum(record["weights"].values()) == pytest.approx(1) for record in made)


@pytest.mark.parametrize("more", [[], ["--method", "scaffold"], ["--secret"]], ids=["open", "scaffold", "secret"])
def test_the_bundle_is_that_of_our_own_network(tmp_path: Path, ends: ExitStack, more: list[str]) -> None:
    words = ["synthetic", "--out", "shelf", "--config", "tiny.toml", "--sites", "2", "--rounds", "3", *more]
    fleet = Flower(tmp_path / "flower", ends)
    for name in ("one", "two"):
        fleet.node(name)
    fleet.run(*words)
    cost = {"on Flower": (fleet.over("run"), fleet.wire.bytes)}
    ends.pop_all().close()

    own, ddnn = Processes(tmp_path / "own", ends), [program("ddnn"), "federate"]
    tls = ["--certificate", "cert.pem", "--key", "key.pem"]
    own.start("server", *ddnn, "serve", *words, *tls, "--port", "0")
    wire = Wire(int(own.waited("server", r"sites at https://127.0.0.1:(\d+)")[1]), ends)
    for name in ("one", "two"):
        own.start(name, *ddnn, "join", f"https://{wire.address}", "synthetic", "--name", name, "--ca", "ca.pem")
    cost["own network"] = (own.over("server"), wire.bytes)

    print(*(f"\n{' '.join(more) or 'open'}, {way}: {cost[way][0]:.0f} s, {cost[way][1]:,} bytes" for way in cost))
    assert [record["loss"] for record in fleet.records()] == [record["loss"] for record in own.records()]
    one, other = ((each.folder / "shelf" / "weights.safetensors").read_bytes() for each in (fleet, own))
    assert one == other
