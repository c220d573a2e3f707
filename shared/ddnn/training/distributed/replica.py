"""Codistillation: replicas, each a whole network that learns from its labels and from what the others say.

Anil et al. 2018. What the others say is asked of copies of them, which are sent now and then and are stale between.
"""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from ddnn.errors import BadConfig
from ddnn.network import DDNN, Scored
from ddnn.training.config import Config, WorkersConfig
from ddnn.training.distributed.group import Group
from ddnn.training.distributed.vector import Vector
from ddnn.training.distributed.workers import Own, plain
from ddnn.training.exchange import Watcher
from ddnn.training.initial import load_weights
from ddnn.training.loader import Batch, Part
from ddnn.training.loss import taught_loss
from ddnn.training.run import Checkpoint, State, refuse_other_data

if TYPE_CHECKING:
    from ddnn.training.trainer import Trainer

__all__ = ["Replica", "refuse_replicas", "seed_of"]


def seed_of(config: WorkersConfig, rank: int, seed: int) -> int:
    """Of a process: a replica starts from weights of its own."""
    return seed + rank if config.mode == "codistill" else seed


def refuse_replicas(config: Config) -> None:
    """Raise `BadConfig` for what replicas cannot have."""
    training, workers = config.training, config.workers
    if workers.count < 2:
        raise BadConfig(f"workers.count is {workers.count} to codistill; expected two replicas or more")
    if training.patience:
        raise BadConfig(
            f"training.patience is {training.patience}; expected 0, as all replicas end with the same epoch"
        )
    if workers.others_weight and workers.burn_in >= training.epochs:
        found = f"workers.burn_in is {workers.burn_in} of {training.epochs} epochs"
        raise BadConfig(f"{found}, after which nothing is learnt; expected fewer")
    if config.network.backbone or config.network.cloud.backbone:
        raise BadConfig(
            "network.backbone is set; expected replicas without one, as what is cut of it is each one's own"
        )


class Replica:
    """One replica of several, with events of its own or the same; the best by validation is kept in the end."""

    def __init__(self, group: Group, config: WorkersConfig, folder: Path | None = None) -> None:
        self.group, self.config = group, config
        apart = config.events == "apart"
        self.part = Part(group.rank, range(group.size), own=True, alone=True) if apart else None
        self.others = list[DDNN]()
        """The others, as they were when they were last sent."""
        self.own, self._made, self._listens = Own(folder if group.rank else None, group.rank), 0, False
        self._kept: dict[str, Any] = {}
        self.trainer: Trainer

    def begin(self, trainer: "Trainer") -> None:
        """Start with weights of its own; raise `BadConfig` at one that has other data, or has lost what it had."""
        self.trainer = trainer
        mine = {"origin": trainer.origin, "metrics": trainer.metrics}
        told = json.loads(self.group.tell(None if self.group.rank else json.dumps(mine).encode()))
        if self.group.rank:
            refuse_other_data(Path("worker 0"), {**told["origin"], "seed": trainer.seed}, trainer.origin)
            if told["metrics"]:
                self._take_up(told["metrics"])
        self._names = _learnt(trainer.network, statistics=trainer.config.training.norms != "keep")
        if self.config.others_weight:
            states = self.group.heard(save(plain(trainer.state())))
            self.others = [
                self._copy(load(state), rank) for rank, state in enumerate(states) if rank != self.group.rank
            ]

    def gradients(self) -> None:
        """Each step is a replica's own."""

    def stepped(self) -> bool:
        """Send and take checkpoints, if it is time to."""
        self._made += 1
        if self._listens and self._made % self.config.every == 0 and self._made < len(self.trainer.batches):
            self._exchange()
        return True

    def learn(self, epoch: int, watcher: Watcher) -> tuple[float, int]:
        """Make an epoch's steps; once the burn-in is over, it begins with checkpoints of all as they are."""
        self._made, self._listens = 0, bool(self.others) and epoch >= self.config.burn_in
        self.trainer.lesson = self._lesson if self._listens else None
        if self._listens:
            self._exchange()
        return self.trainer.learn(epoch, watcher)

    def judged(self, judge: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Each judges itself, keeps what it has, and hears of the others' scores."""
        record, trainer = judge(), self.trainer
        if self.group.rank:
            tensors = {n: t for n, t in trainer.checkpoint().tensors.items() if not n.startswith("optimizer.")}
            if trainer.leads(record):
                tensors |= {f"best.{name}": tensor for name, tensor in trainer.state(averaged=True).items()}
            self.own.save(record["epoch"] + 1, trainer, tensors)
        # All have kept this epoch once the first one hears of it.
        return {**record, "replicas": self._figures(record["score"]), "exchanged": self.group.traffic.document()}

    def chosen(self, best: State) -> State:
        """Those of the replica whose best epoch is the best of all by validation, the first of several."""
        scores = [float(record["score"]) for record in self.trainer.metrics]
        figures = self._figures(scores[-1] if self.trainer.config.training.keep == "last" else max(scores))
        index = figures.index(max(figures))
        self._kept = {"kept": index, "scores": figures}
        return load(self.group.tell(save(plain(best)) if index == self.group.rank else None, first=index))

    def document(self) -> dict[str, Any]:
        """Mode, replicas, which one is kept and what each came to by validation, and what one exchanged."""
        told = {"mode": self.config.mode, "workers": self.group.size, "events": self.config.events, **self._kept}
        return {**told, "exchanged": self.group.traffic.document()}

    def _lesson(self, batch: Batch, scored: Scored) -> Tensor:
        """What the others say of the batch."""
        with torch.no_grad():
            told = [other(batch.views, batch.present) for other in self.others]
        alive = self.trainer.network.alive(batch.present)
        config = self.trainer.config.training
        return self.config.others_weight * taught_loss(scored, told, batch.y, batch.y_dev, alive, config)

    def _exchange(self) -> None:
        """Send the weights that are validated, the averaged ones, and take those of the others."""
        mine = self.trainer.state(averaged=True)
        sent = self.group.gather(Vector([mine[name] for name in self._names]).read())
        theirs = [vector for rank, vector in enumerate(sent) if rank != self.group.rank]
        for other, vector in zip(self.others, theirs, strict=True):
            state = other.state_dict()
            Vector([state[name] for name in self._names]).write(vector)

    def _figures(self, mine: float) -> list[float]:
        return [float(*struct.unpack("<d", each)) for each in self.group.heard(struct.pack("<d", mine))]

    def _copy(self, state: State, rank: int) -> DDNN:
        with torch.random.fork_rng():
            other = DDNN(self.trainer.network.plan)
        load_weights(other, state, f"the weights of replica {rank}")
        return other.to(self.trainer.place).eval().requires_grad_(False)

    def _take_up(self, metrics: list[dict[str, Any]]) -> None:
        """Go on where it was after as many epochs as the first one has made."""
        trainer, where = self.trainer, f"replica {self.group.rank}"
        own = self.own.load(len(metrics), trainer)
        if own is None:
            raise BadConfig(f"what {where} had after {len(metrics)} epochs is not there; start again with --force")
        records = [{**record, "score": record["replicas"][self.group.rank]} for record in metrics]
        state = {**trainer.origin, "metrics": records}
        trainer.restore(Checkpoint({**trainer.checkpoint().tensors, **own}, state), Path(where))


def _learnt(network: DDNN, *, statistics: bool) -> list[str]:
    """Names of what differs between replicas while they learn: weights, and statistics that batch norms gather."""
    names = [name for name, weight in network.named_parameters() if weight.requires_grad]
    for name, module in network.named_modules():
        if statistics and isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            names += [f"{name}.running_mean", f"{name}.running_var"]
    return names
