"""What every way to learn together begins with: one start for all, and what a worker keeps for itself."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor

from ddnn.errors import BadConfig
from ddnn.seal import write_atomically
from ddnn.training.distributed.group import Group
from ddnn.training.initial import statistics_of
from ddnn.training.run import Checkpoint, refuse_other_data

if TYPE_CHECKING:
    from ddnn.training.trainer import Trainer

__all__ = ["Own", "learning", "plain", "start_alike", "statistics"]


def start_alike(group: Group, trainer: "Trainer") -> None:
    """Start all where the first one does; raise `BadConfig` at one that has other data, or another seed."""
    first, resumed = trainer.checkpoint() if group.rank == 0 else None, bool(trainer.metrics)
    state = {"state": first.state, "resumed": resumed} if first else {}
    told = json.loads(group.tell(json.dumps(state).encode() if first else None))
    tensors = load(group.tell(save(plain(first.tensors)) if first else None))
    if group.rank:
        checkpoint = Checkpoint(tensors, told["state"])
        place = Path("worker 0")
        if told["resumed"]:
            trainer.restore(checkpoint, place)
        else:
            refuse_other_data(place, checkpoint.state, trainer.origin)
            trainer.network.load_state_dict({n[8:]: t for n, t in tensors.items() if n.startswith("network.")})


def plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, each whole, as a file or message holds them."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def learning(trainer: "Trainer") -> list[Tensor]:
    """The weights that learn."""
    weights = [weight for group in trainer.optimizer.param_groups for weight in group["params"]]
    return [weight for weight in weights if weight.requires_grad]


def statistics(trainer: "Trainer") -> list[Tensor]:
    """The statistics that batch norms gather; none where they keep theirs."""
    return [] if trainer.config.training.norms == "keep" else statistics_of(trainer.network)


class Own:
    """What one worker alone has, in its run folder after each epoch: `worker-1.safetensors`.

    Args:
        folder: The run's, on this worker's disk; None keeps nothing.
        index: Which worker this is.
    """

    def __init__(self, folder: Path | None, index: int) -> None:
        self._file = folder / f"worker-{index}.safetensors" if folder else None

    def save(self, epochs: int, trainer: "Trainer", more: dict[str, Tensor]) -> None:
        """Keep the optimizer's state and `more`, as they are after so many epochs; those of the epoch before too."""
        if self._file is None:
            return
        state: dict[int, dict[str, Any]] = trainer.optimizer.state_dict()["state"]
        tensors = {f"optimizer.{place}.{name}": each for place, own in state.items() for name, each in own.items()}
        tensors |= {f"own.{name}": tensor for name, tensor in more.items()}
        tensors = plain({name: tensor for name, tensor in tensors.items() if tensor is not None})
        if self._file.is_file() and not _is_of(self._file, epochs):  # an epoch made again leaves the one before
            self._file.replace(self._before)
        write_atomically(self._file, lambda part: save_file(tensors, part, metadata={"epochs": str(epochs)}))

    def load(self, epochs: int, trainer: "Trainer") -> dict[str, Tensor] | None:
        """Take up what was kept after so many epochs, and return the rest; None where there is no such thing."""
        for file in (self._file, self._before) if self._file else ():
            try:
                if not _is_of(file, epochs):
                    continue
                with safe_open(file, framework="pt") as opened:
                    tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
            except FileNotFoundError:
                continue
            except (OSError, SafetensorError, KeyError, TypeError) as error:
                raise BadConfig(f"{file} cannot be read ({error}); start again with --force") from error
            states: dict[int, dict[str, Tensor]] = {}
            for name, tensor in tensors.items():
                kind, rest = name.split(".", 1)
                if kind == "optimizer":
                    place, entry = rest.split(".", 1)
                    states.setdefault(int(place), {})[entry] = tensor
            trainer.optimizer.load_state_dict({**trainer.optimizer.state_dict(), "state": states})
            return {name[4:]: tensor for name, tensor in tensors.items() if name.startswith("own.")}
        return None

    @property
    def _before(self) -> Path:
        assert self._file is not None
        return self._file.with_name(f"{self._file.stem}-before.safetensors")


def _is_of(file: Path, epochs: int) -> bool:
    """Whether a file is of so many epochs."""
    with safe_open(file, framework="pt") as opened:
        return bool(opened.metadata()["epochs"] == str(epochs))
