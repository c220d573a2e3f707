"""Workers of a server: what they push, when they fetch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddnn.errors import WorkerLost
from ddnn.training.config import WorkersConfig
from ddnn.training.distributed.compression import Threshold
from ddnn.training.distributed.group import Group
from ddnn.training.distributed.messages import Kind, Message, receive, send
from ddnn.training.distributed.vector import Vector
from ddnn.training.distributed.workers import Own, learning, start_alike, statistics
from ddnn.training.exchange import Watcher
from ddnn.training.loader import Part

if TYPE_CHECKING:
    from ddnn.training.trainer import Trainer

__all__ = ["Pulled", "Pusher", "Soft"]


class Pusher:
    """Downpour (Dean et al. 2012): updates accrue, are pushed every so many steps, weights fetched every so many."""

    own_events = False

    def __init__(self, group: Group, config: WorkersConfig, folder: Path | None = None) -> None:
        self.group, self.config, self.index = group, config, group.rank - 1
        self.part: Part | None = Part(self.index, range(group.size - 1), own=self.own_events)
        self.own, self._made, self._version = Own(folder, self.index), 0, 0

    def begin(self, trainer: "Trainer") -> None:
        """Start where the server does, with what this worker alone had."""
        self.trainer = trainer
        start_alike(self.group, trainer)
        self.weights = Vector(learning(trainer))
        self.vector = Vector(learning(trainer) + statistics(trainer))
        self.accrued = torch.zeros(self.vector.count)
        self.threshold = Threshold(self.vector.count, self.config.compress) if self.config.compress else None
        self._last = self.vector.read()
        self.take_up(self.own.load(len(trainer.metrics), trainer) or {} if trainer.metrics else {})

    def kept(self) -> dict[str, Tensor]:
        """What this worker alone has, beside its optimizer's state."""
        return {"kept": self.threshold.kept} if self.threshold else {}

    def take_up(self, own: dict[str, Tensor]) -> None:
        """Go on with it."""
        if self.threshold and "kept" in own:
            self.threshold.kept = own["kept"]

    def gradients(self) -> None:
        """Each step is a worker's own."""

    def stepped(self) -> bool:
        """Accrue; push and fetch, if it is time to."""
        self._pushed()
        if self._made % self.config.fetch_every == 0 and self._made < len(self.trainer.batches):
            self.fetch()
        return True

    def _pushed(self) -> None:
        self._made += 1
        now = self.vector.read()
        self.accrued += self._last - now
        self._last = now
        if self._made % self.config.every == 0:
            self.push()

    def learn(self, epoch: int, watcher: Watcher) -> tuple[float, int]:
        """Make an epoch's steps, push what has accrued, and tell the server that they are made."""
        self._made = 0
        with _Named():
            self.enter()
            loss, events = self.trainer.learn(epoch, watcher)
            if self._made % self.config.every:
                self.push()
            send(self.group, 0, Message(Kind.DONE, loss=loss, events=events))
        return loss, events

    def judged(self, judge: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Hear how the server judges; share the events of those that are lost."""
        with _Named():
            words = receive(self.group, 0).numbers
        assert words is not None
        assert self.part is not None
        record: dict[str, Any] = json.loads(words.numpy().tobytes())
        if not self.part.own:
            self.part.workers = [each for each in range(self.group.size - 1) if each not in record["lost"]]
        self.own.save(record["epoch"] + 1, self.trainer, self.kept())
        return record

    def chosen(self, best: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those that all have learnt."""
        return best

    def document(self) -> dict[str, Any]:
        """What this worker exchanged."""
        return {"mode": self.config.mode, "exchanged": self.group.traffic.document()}

    def enter(self) -> None:
        """An epoch begins with the weights that were validated."""
        self.fetch()

    def push(self) -> None:
        """Send what has accrued, or what of it is beyond the threshold."""
        update, self.accrued = self.accrued, torch.zeros_like(self.accrued)
        self.tell(self.threshold.take(update) if self.threshold else update)

    def fetch(self) -> None:
        """Take the server's weights."""
        request = Message(Kind.FETCH, self._version)
        send(self.group, 0, request)
        self.group.traffic.exchange(sent=request.bytes)
        self.take(self.hear())

    def tell(self, numbers: Tensor) -> None:
        """Push numbers."""
        message = Message(Kind.PUSH, self._version, numbers=numbers)
        send(self.group, 0, message)
        self.group.traffic.exchange(sent=message.bytes)

    def hear(self) -> Tensor:
        """The weights that the server answers with."""
        reply = receive(self.group, 0)
        self.group.traffic.exchange(received=reply.bytes)
        assert reply.numbers is not None
        self._version = reply.version
        return reply.numbers

    def take(self, vector: Tensor) -> None:
        """Learn on from these weights."""
        self.vector.write(vector)
        self._last = vector


class Soft(Pusher):
    """Soft synchronisation: what was pushed is answered with the weights, once it is applied."""

    def stepped(self) -> bool:
        """Accrue; push, if it is time to."""
        self._pushed()
        return True

    def push(self) -> None:
        """Send what has accrued, and go on from the weights that it has made."""
        super().push()
        self.take(self.hear())


class Pulled(Pusher):
    """Consensus ADMM: events of its own, a pull to the consensus in each step, its point sent after so many of them."""

    own_events = True

    def begin(self, trainer: "Trainer") -> None:
        """Start at the consensus, with no dual."""
        self.u = torch.zeros(Vector(learning(trainer)).count)
        super().begin(trainer)

    def kept(self) -> dict[str, Tensor]:
        """Its dual, and its own weights."""
        return {"dual": self.u, "point": self.vector.read()}

    def take_up(self, own: dict[str, Tensor]) -> None:
        """Go on with them; the server's weights, which came first, are the consensus."""
        self.z = self.weights.read()
        if own:
            self.u = own["dual"]
            self.vector.write(own["point"])

    def gradients(self) -> None:
        """Add that of ρ/2 ‖x − z + u‖²."""
        pull = (self.weights.read() - self.z + self.u).mul_(self.config.rho)
        for weight, part in zip(self.weights.tensors, torch.split(pull, self.weights.sizes), strict=True):
            part = part.reshape(weight.shape).to(weight.device)
            weight.grad = part if weight.grad is None else weight.grad.add_(part)

    def stepped(self) -> bool:
        """Send its point, if the inner steps are made."""
        self._made += 1
        if self._made % self.config.every == 0:
            self.push()
        return True

    def enter(self) -> None:
        """It goes on from where it is."""

    def push(self) -> None:
        """Send x + u and the statistics; with the consensus that comes of it, u + x − z is its dual."""
        here = self.vector.read()
        here[: len(self.u)] += self.u
        self.tell(here)
        made = self.hear()
        self.z = made[: len(self.u)]
        self.u = here[: len(self.u)] - self.z
        self._share(made[len(self.u) :])

    def _share(self, means: Tensor) -> None:
        shared = Vector(statistics(self.trainer))
        shared.write(means)


class _Named:
    """Turns what the transport says into a sentence."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RuntimeError) and not isinstance(error, NotImplementedError):
            raise WorkerLost("worker 0, the server of the weights, ended or fell silent") from error
