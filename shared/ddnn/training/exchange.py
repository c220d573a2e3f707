"""Where a training meets what is outside of it: what watches it, and the others that learn the same network with it."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from ddnn.network import Scored
from ddnn.training.loader import Batch, Part

if TYPE_CHECKING:
    from ddnn.training.trainer import Trainer

__all__ = ["Alone", "Exchange", "Lesson", "Silent", "Watcher"]

Lesson = Callable[[Batch, Scored], Tensor]
"""What is learnt beside the labels: a loss () of a batch, as it is learnt from, and what every exit says of it."""


class Watcher(Protocol):
    """What is called while a training goes on."""

    def step(self, epoch: int, done: int, steps: int) -> None:
        """`done` of `steps` steps of `epoch` are made."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch is over; `record` is its line of metrics.jsonl."""


class Silent:
    """A watcher that shows nothing."""

    def step(self, epoch: int, done: int, steps: int) -> None:
        """Nothing."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Nothing."""


class Alone:
    """An exchange with nobody, to be made another one."""

    part: Part | None = None

    def begin(self, trainer: "Trainer") -> None:
        """Nothing."""
        self.trainer = trainer

    def gradients(self) -> None:
        """Nothing."""

    def stepped(self) -> bool:
        """Nobody else has to agree."""
        return True

    def learn(self, epoch: int, watcher: Watcher) -> tuple[float, int]:
        """Its own steps."""
        return self.trainer.learn(epoch, watcher)

    def judged(self, judge: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """It judges itself."""
        return judge()

    def chosen(self, best: dict[str, Tensor]) -> dict[str, Tensor]:
        """Its own."""
        return best

    def document(self) -> dict[str, Any]:
        """Nothing."""
        return {}


class Exchange(Protocol):
    """What a training exchanges with the others: nothing is different for one that has none."""

    part: Part | None
    """This worker's share of every batch."""

    def begin(self, trainer: "Trainer") -> None:
        """The training is set up: start where the others do."""

    def gradients(self) -> None:
        """The gradients of a step are there, and may become those of all."""

    def stepped(self) -> bool:
        """The weights have moved by them; whether they are now what all agree on."""

    def learn(self, epoch: int, watcher: Watcher) -> tuple[float, int]:
        """Make an epoch's steps, or see them made; the sum of the losses and how many events there were."""

    def judged(self, judge: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The epoch is over: its line of metrics.jsonl, the same for all; one of them judges."""

    def chosen(self, best: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights to keep in the end, this process's best being these."""

    def document(self) -> dict[str, Any]:
        """What the manifest says of it: how many exchanged how much."""
