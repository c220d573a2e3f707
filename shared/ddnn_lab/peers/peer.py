"""A server that is compared: ours or a peer's, on cores of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import httpx
import numpy as np
import orjson

from ddnn.data import Dataset
from ddnn.errors import DDNNError
from ddnn.evaluation import Scores
from ddnn.evaluation.decide import judge
from ddnn.fleet.processes import LocalFleet
from ddnn.links import LinkShape
from ddnn.policy import Policy
from ddnn.types import Exit, Floats, Tier
from ddnn_lab.load import HttpTarget, Outcome, Processes

__all__ = ["PEERS", "SERVERS", "Cores", "Peer", "PlacedFleet", "environment", "on"]
__all__ += ["processes", "serving", "target", "threshold_of", "unsure_below", "versions"]


@dataclass(frozen=True)
class Cores:
    """The same division for every system."""

    cloud: frozenset[int]
    all: frozenset[int]

    @classmethod
    def of(cls, available: frozenset[int]) -> Self:
        """The first half for the cloud, one core at least."""
        order = sorted(available)
        return cls(frozenset(order[: max(1, len(order) // 2)]), available)

    @classmethod
    def mine(cls) -> Self:
        """Of the cores that this process may use."""
        return cls.of(frozenset(os.sched_getaffinity(0)))


@contextmanager
def on(cores: frozenset[int]) -> Iterator[None]:
    """Processes started within run on these cores, and so do their children."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


SERVERS: Final = Path(__file__).with_name("servers")
_HOST: Final = "127.0.0.1"
_START_S: Final = 60.0


@dataclass(frozen=True)
class Peer:
    """One system in one setting."""

    system: str
    setting: str
    server: str  #: file among the servers, without its ending; the requirements are beside it
    path: str = "/predict"
    health: str = "/health"
    binary: bool = True
    batch: int = 1  #: most events in a batch, for those that are told by the environment

    @property
    def name(self) -> str:
        """System and setting."""
        return f"{self.system}, {self.setting}"

    def command(self, venv: Path, port: int, workers: int) -> list[str]:
        """How it is started, in the folder of the servers."""
        at = ["--host", _HOST, "--port", str(port)]
        if self.server == "bare":
            quick = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
            return [str(venv / "bin/uvicorn"), "bare:app", *at, "--workers", str(workers), *quick]
        if self.server == "bento":
            return [str(venv / "bin/bentoml"), "serve", "bento:Network", *at, "--quiet"]
        return [str(venv / "bin/python"), f"{self.server}.py"]


PEERS: Final = (
    Peer("FastAPI + ONNX Runtime", "bytes", "bare"),
    Peer("LitServe", "bytes, no batching", "lit"),
    Peer("LitServe", "bytes, batches of up to 16 within 10 ms", "lit", batch=16),
    Peer("BentoML", "bytes, mounted route, no batching", "bento", "/binary/predict", "/readyz"),
    Peer("BentoML", "JSON, no batching", "bento", "/json", "/readyz", binary=False),
    Peer("BentoML", "JSON, adaptive batching", "bento", "/batched", "/readyz", binary=False),
)


def environment(peer: Peer, folder: Path, say: Callable[[str], object]) -> Path:
    """The virtual environment of a peer within `folder`, made if it is not there or other versions are wanted."""
    venv, wanted = folder / peer.server, SERVERS / f"{peer.server}.txt"
    note = venv / "made-of.txt"
    if not note.is_file() or note.read_text() != wanted.read_text():
        say(f"making {venv} of {wanted.name}")
        _run(sys.executable, "-m", "venv", "--clear", str(venv))
        _run(str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--requirement", str(wanted))
        note.write_text(wanted.read_text())
    return venv


def versions(peer: Peer) -> dict[str, str]:
    """What its environment is pinned to, by package."""
    lines = (SERVERS / f"{peer.server}.txt").read_text().split()
    return dict(line.split("==", 1) for line in lines)


@contextmanager
def serving(peer: Peer, venv: Path, model: Path, cores: Cores, port: int, log: Path) -> Iterator[int]:
    """Run it on the cloud's cores, one worker a core, on `port`; give its process id once it is ready."""
    told = {"PEER_MODEL": str(model.resolve()), "PEER_WORKERS": str(len(cores.cloud)), "PEER_PORT": str(port)}
    own = {"PEER_BATCH": str(peer.batch), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(venv / "home"), "PYTHONWARNINGS": "ignore"}
    with log.open("wb") as file, on(cores.cloud):
        process = subprocess.Popen(
            peer.command(venv.resolve(), port, len(cores.cloud)),
            cwd=SERVERS,
            env={**os.environ, **told, **own, **quiet},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, f"http://{_HOST}:{port}{peer.health}", log)
        yield process.pid
    finally:
        _stop(process)


def target(peer: Peer, url: str, data: Dataset, order: list[int]) -> HttpTarget:
    """All views of an event in one body, as from a gateway that has collected them for nothing; events in `order`."""
    bodies = [b"".join(view[row].tobytes() for view in data.views) for row in order]
    kind = "application/octet-stream"
    if not peer.binary:
        bodies = [orjson.dumps({"views": [list(body)]}) for body in bodies]
        kind = "application/json"

    def read(place: int, body: bytes) -> Outcome:
        scores = np.frombuffer(body, np.float32) if peer.binary else np.array(orjson.loads(body)[0], np.float32)
        if scores.shape != (len(data.classes),):
            raise ValueError(f"{scores.shape} scores")
        label = int(scores.argmax())
        right = label == int(data.y[order[place]])
        return Outcome(True, label, right, exit="cloud", bytes_up=len(bodies[place]))

    return HttpTarget(url + peer.path, bodies, read, {"content-type": kind})


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(url, trust_env=False, timeout=1.0).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise DDNNError(f"{url} did not come up; {log} ends in: {log.read_text(errors='replace')[-400:]!r}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the whole group, then end it."""
    for how, seconds in ((signal.SIGTERM, 8.0), (signal.SIGKILL, 8.0)):
        try:
            os.killpg(process.pid, how)
            process.wait(seconds)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DDNNError(f"{' '.join(command)} failed: {done.stderr[-400:]}")


class PlacedFleet(LocalFleet):
    """A fleet whose tiers keep to their cores."""

    def __init__(
        self, bundle: Path, cores: Cores, *, base_port: int, shapes: Mapping[Tier, LinkShape] | None = None
    ) -> None:
        super().__init__(bundle, base_port=base_port, shapes=shapes)
        self._cores = cores

    def start(self, name: str) -> None:
        """Start the tier `name` on its cores."""
        with on(self._cores.cloud if name == "cloud" else self._cores.all):
            super().start(name)


def processes(fleet: LocalFleet) -> Processes:
    """Of all its tiers, by name."""
    return Processes({name: fleet.pid(name) for name in fleet.members})


def unsure_below(scores: Scores, policy: Policy) -> Floats:
    """[N], by how much no exit below the cloud is sure: an event goes up under one threshold for all iff this is not
    below it."""
    exits = [exit for exit in (Exit.LOCAL, Exit.EDGE) if exit in scores.topology.exits]
    each = [judge(scores, policy, exit)[1].reshape(len(scores), -1).min(axis=1) for exit in exits]
    return np.asarray(np.min(each, axis=0), np.float32)


def threshold_of(share: float, unsure: Floats) -> float:
    """The threshold under which about `share` of events with these values goes up to the cloud."""
    if share >= 1:
        return 0.0
    return float(np.quantile(unsure, 1 - share, method="higher"))
