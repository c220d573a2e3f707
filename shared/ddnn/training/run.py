"""The run folder beside a bundle, `OUT.run/`: config.toml, metrics.jsonl and a checkpoint to resume from."""

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ddnn.bundle import WEIGHTS_FILE, Bundle
from ddnn.data import Dataset
from ddnn.errors import BadBundle, BadConfig, BadInput
from ddnn.network.weights import unpacked
from ddnn.seal import write_atomically
from ddnn.training.config import Config

__all__ = ["Checkpoint", "Run", "State", "origin_of", "refuse_other_data", "weights_of"]

State = dict[str, Tensor]  #: weights by name

CONFIG_FILE: Final = "config.toml"
METRICS_FILE: Final = "metrics.jsonl"
CHECKPOINT_FILE: Final = "checkpoint.safetensors"
LOCK_FILE: Final = "lock"


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run continues from; chance needs no place here, each epoch's is made from seed and epoch."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


@dataclass
class Run:
    """One training run on disk."""

    path: Path

    @classmethod
    def beside(cls, bundle: Path) -> "Run":
        """The run that makes `bundle`."""
        return cls(bundle.with_name(bundle.name + ".run"))

    @property
    def unfinished(self) -> bool:
        """Whether there is something to resume."""
        return (self.path / CHECKPOINT_FILE).is_file()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other process off this run; raise `BadInput` when another one has it."""
        file = self.path / LOCK_FILE
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(file)
            lock.acquire(timeout=0)
        except Timeout as error:
            message = f"another process is at work on {self.path}; wait for its end, or give another --out"
            raise BadInput(message) from error
        except OSError as error:
            raise BadInput(f"{self.path} cannot be made ({error.strerror}); give another --out") from error
        try:
            yield
        finally:
            nothing = list(self.path.glob("*")) in ([], [file])
            lock.release()
            if nothing:
                file.unlink(missing_ok=True)
                self.path.rmdir()

    def start(self, config: Config) -> None:
        """Make the folder afresh; the lock stays, as another file of that name would be another lock."""
        self.path.mkdir(parents=True, exist_ok=True)
        for entry in self.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != LOCK_FILE:
                entry.unlink()
        write_atomically(self.path / CONFIG_FILE, config.to_toml())

    def config(self) -> Config:
        """The config that the run was started with."""
        if not self.unfinished:
            raise BadInput(f"{self.path} holds no run to resume; start one without --resume")
        return Config.read(self.path / CONFIG_FILE)

    def save(self, checkpoint: Checkpoint, metrics: list[Mapping[str, Any]]) -> None:
        """Write the checkpoint, tensors and state in one file so that they cannot disagree, then the metrics."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
        state = {"state": json.dumps(checkpoint.state)}
        write_atomically(self.path / CHECKPOINT_FILE, lambda part: save_file(tensors, part, metadata=state))
        lines = "".join(json.dumps(record) + "\n" for record in metrics)
        write_atomically(self.path / METRICS_FILE, lines)

    def summary(self) -> dict[str, Any]:
        """Epochs made and the best of them, from the metrics file, and the speed of the last one."""
        records = [json.loads(line) for line in (self.path / METRICS_FILE).read_text(encoding="utf-8").splitlines()]
        best = max(records, key=lambda record: (record["score"], record["epoch"]))
        speed = self.load().state.get("speed", {}) if self.unfinished else {}
        return {"epochs": len(records), "best": best, "speed": speed, "run": str(self.path)}

    def load(self) -> Checkpoint:
        """Read the checkpoint; raise `BadConfig` when it is damaged."""
        try:
            with safe_open(self.path / CHECKPOINT_FILE, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
                return Checkpoint(tensors, json.loads(file.metadata()["state"]))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            file = self.path / CHECKPOINT_FILE
            raise BadConfig(f"{file} cannot be read ({error}); start again with --force") from error


def weights_of(bundle: Bundle) -> State:
    """The weights that a bundle keeps for further training, checked; raise `BadBundle` when they cannot be read."""
    try:
        return unpacked(load_file(bundle.checked(WEIGHTS_FILE)))
    except (OSError, SafetensorError, RuntimeError) as error:  # the last: scales that fit no weights
        raise BadBundle(f"{WEIGHTS_FILE}: cannot be read ({error})") from error


def refuse_other_data(folder: Path, kept: Mapping[str, Any], origin: Mapping[str, Any]) -> None:
    """Raise `BadConfig` unless a checkpoint in `folder` is of the same events under the same split."""
    was, mine = kept.get("source") or {}, origin["source"]
    # Where the file lies does not matter, its content and split do.
    flags = [f"{k} is {mine[k]}, it was {was.get(k)}" for k in mine if k != "name" and was.get(k) != mine[k]]
    found = {
        f"seed is {origin['seed']}, it was {kept.get('seed')}": kept.get("seed") != origin["seed"],
        "its content differs": kept.get("data") != origin["data"],
        f"its split differs: {', '.join(flags)}": bool(flags),
        "its split differs": kept.get("split") != origin["split"],
    }
    for which in (sentence for sentence, differs in found.items() if differs):
        raise BadConfig(f"{mine.get('name', origin['name'])} is not the data that {folder} was started with: {which}")
    if (kept.get("initial"), kept.get("freeze") or []) != (origin["initial"], origin["freeze"]):
        raise BadConfig(f"{folder} was started with --from and --freeze otherwise; give them as then, or --force")


def origin_of(data: Dataset, seed: int, initial: Bundle | None, freeze: Collection[str]) -> dict[str, Any]:
    """What a run must be resumed with: the same events under the same split, from the same weights."""
    # The content alone would let a run go on under another split, and learn from the events it is then tested on.
    split = hashlib.sha256("\n".join(data.split).encode()).hexdigest()
    events = {"name": data.name, "seed": seed, "data": data.fingerprint, "source": dict(data.source), "split": split}
    return {**events, "initial": initial.fingerprint if initial else None, "freeze": sorted(freeze)}
