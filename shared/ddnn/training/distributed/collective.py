"""Workers that are all alike and wait for each other: gradients summed each step, or weights averaged now and then."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ddnn.training.config import WorkersConfig
from ddnn.training.distributed.group import Group
from ddnn.training.distributed.vector import Vector
from ddnn.training.distributed.workers import Own, learning, start_alike, statistics
from ddnn.training.exchange import Watcher
from ddnn.training.loader import Part

if TYPE_CHECKING:
    from ddnn.training.trainer import Trainer

__all__ = ["Averaging", "Together"]


class Together:
    """Synchronous SGD: each step, the gradients and running statistics of all are averaged, by events."""

    mode = "sync"

    def __init__(self, group: Group, config: WorkersConfig, folder: Path | None = None) -> None:
        self.group, self.config = group, config
        self.part: Part | None = Part(group.rank, range(group.size))
        self.trainer: Trainer
        self.own = Own(folder if group.rank else None, group.rank)

    def begin(self, trainer: "Trainer") -> None:
        """Start where the first one does."""
        self.trainer = trainer
        start_alike(self.group, trainer)

    def gradients(self) -> None:
        """Average the gradients, and what the batch norms have gathered."""
        assert self.part is not None
        gradients = [weight.grad for weight in learning(self.trainer) if weight.grad is not None]
        self._average(Vector(gradients + statistics(self.trainer)), self.part.share)

    def stepped(self) -> bool:
        """All have made the same step."""
        return True

    def learn(self, epoch: int, watcher: Watcher) -> tuple[float, int]:
        """Make an epoch's steps; the mean loss, and the events of all."""
        loss, events = self.trainer.learn(epoch, watcher)
        whole = self.group.figures(loss / self.group.size, events)
        return whole[0], int(whole[1])

    def judged(self, judge: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The first one judges, and tells the others."""
        record = {**judge(), "exchanged": self.group.traffic.document()} if self.group.rank == 0 else None
        return dict(json.loads(self.group.tell(json.dumps(record).encode() if record else None)))

    def chosen(self, best: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those that all have learnt."""
        return best

    def document(self) -> dict[str, Any]:
        """Mode, workers, and what one of them exchanged."""
        return {"mode": self.mode, "workers": self.group.size, "exchanged": self.group.traffic.document()}

    def _average(self, vector: Vector, share: float) -> None:
        mine = vector.read().mul_(share)
        self.group.sum(mine)
        vector.write(mine)


class Averaging(Together):
    """Parameter averaging: each worker learns by itself, and every so many steps the weights of all are averaged.

    With `average_optimizer`, its state too. An epoch ends with an average.
    """

    mode = "average"
    _since = 0

    def begin(self, trainer: "Trainer") -> None:
        """Start where the first one does, each with the optimizer's state that it had."""
        super().begin(trainer)
        if trainer.metrics:
            self.own.load(len(trainer.metrics), trainer)

    def gradients(self) -> None:
        """Nothing: each step is a worker's own."""

    def stepped(self) -> bool:
        """Average, if it is time to."""
        self._since += 1
        if self._since < self.config.every:
            return False
        self._exchange()
        return True

    def learn(self, epoch: int, watcher: Watcher) -> tuple[float, int]:
        """Make an epoch's steps, and the last average."""
        made = super().learn(epoch, watcher)
        if self._since:
            self._exchange()
        return made

    def judged(self, judge: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The first one judges; each keeps what it alone has."""
        record = super().judged(judge)
        self.own.save(record["epoch"] + 1, self.trainer, {})
        return record

    def _exchange(self) -> None:
        self._since = 0
        tensors = learning(self.trainer) + statistics(self.trainer)
        if self.config.average_optimizer:
            tensors += _moments(self.trainer)
        self._average(Vector(tensors), 1 / self.group.size)


def _moments(trainer: "Trainer") -> list[Tensor]:
    """The optimizer's state, but for how many steps it has made."""
    states = [trainer.optimizer.state[weight] for weight in learning(trainer)]
    return [state[name] for state in states for name in ("exp_avg", "exp_avg_sq") if name in state]
