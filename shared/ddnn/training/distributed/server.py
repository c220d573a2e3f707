"""The server of the weights: a thread listens to each worker, one at a time of them changes the weights."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddnn.errors import WorkerLost
from ddnn.training.config import WorkersConfig
from ddnn.training.distributed.group import Group
from ddnn.training.distributed.messages import Kind, Message, receive, send
from ddnn.training.distributed.rules import Agreeing, Pouring, Rule, Softly, Weights
from ddnn.training.distributed.vector import Vector
from ddnn.training.distributed.workers import learning, start_alike, statistics
from ddnn.training.exchange import Watcher
from ddnn.training.loader import Part

if TYPE_CHECKING:
    from ddnn.training.trainer import Trainer

__all__ = ["Server"]


class Server:
    """The exchange of the process that has the weights of all, validates and saves them, and makes no steps."""

    part: Part | None = None

    def __init__(self, group: Group, config: WorkersConfig, folder: Path | None = None) -> None:
        self.group, self.config = group, config
        self.live = list(range(1, group.size))
        """Ranks of the workers that are not lost."""
        self.lost: list[int] = []
        """Indices of those that are."""
        self._turn, self._active = threading.Condition(), set[int]()
        self._done: dict[int, tuple[float, int]] = {}
        self._pushes = 0
        self.rule: Rule

    def begin(self, trainer: "Trainer") -> None:
        """Let all start where this one does."""
        start_alike(self.group, trainer)
        self._trainer, self._statistics = trainer, statistics(trainer)
        mine = learning(trainer)
        self._vector = Vector(mine + self._statistics)
        self.weights = Weights(self._vector.read, self._write)
        if self.config.mode == "admm":
            resumed = bool(trainer.metrics)
            self.rule = Agreeing(self.weights, self.config, Vector(mine).count, resumed=resumed)
        else:
            self.rule = (Softly if self.config.mode == "softsync" else Pouring)(self.weights, self.config)

    def gradients(self) -> None:
        """It makes none."""

    def stepped(self) -> bool:
        """It makes no step."""
        return True

    def learn(self, epoch: int, watcher: Watcher) -> tuple[float, int]:
        """Serve the workers until all that live have made the epoch's steps.

        Raise `WorkerLost` when none lives.
        """
        self._active, self._done, self._pushes = set(self.live), {}, 0
        threads = [threading.Thread(target=self._listen, args=(rank,), daemon=True) for rank in self.live]
        for thread in threads:
            thread.start()
        steps = len(self._trainer.batches)
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)
                made = self._pushes * self.config.every // max(len(threads), 1)
                watcher.step(epoch, min(made, steps), steps)
        if not self._done:
            raise WorkerLost(f"all {self.group.size - 1} workers ended or fell silent")
        losses, events = zip(*self._done.values(), strict=True)
        return sum(losses) / len(losses), sum(events)

    def judged(self, judge: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Judge, and tell the workers."""
        told = {"lost": self.lost, "exchanged": self.group.traffic.document()}
        record = {**judge(), **self.rule.figures(), **told}
        words = torch.frombuffer(bytearray(json.dumps(record).encode()), dtype=torch.uint8)
        for rank in list(self.live):
            try:
                send(self.group, rank, Message(Kind.WORDS, numbers=words))
            except RuntimeError:
                self._lose(rank)
            self.group.traffic.control += len(words)
        return dict(json.loads(words.numpy().tobytes()))

    def chosen(self, best: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those that all have learnt."""
        return best

    def document(self) -> dict[str, Any]:
        """Mode, workers, those lost, and what the server exchanged."""
        told = {"mode": self.config.mode, "workers": self.group.size - 1, "lost": self.lost}
        return {**told, "exchanged": self.group.traffic.document()}

    def _listen(self, rank: int) -> None:
        """Do what a worker wishes, until its epoch ends, or it is gone."""
        try:
            while True:
                message = receive(self.group, rank)
                with self._turn:
                    if message.kind is Kind.DONE:
                        self._done[rank] = message.loss, message.events
                        self._leave(rank)
                        return
                    reply = self._answer(rank, message)
                if reply is not None:
                    send(self.group, rank, reply)
        except RuntimeError:
            with self._turn:
                self._lose(rank)

    def _answer(self, rank: int, message: Message) -> Message | None:
        """What a wish is answered with; the turn is another thread's while this one waits."""
        traffic = self.group.traffic
        traffic.exchange(received=message.bytes)
        if message.kind is Kind.PUSH:
            assert message.numbers is not None
            self._pushes += 1
            self.rule.push(rank, message.numbers, message.version, self._active)
            self._turn.notify_all()
            if not self.rule.replies:
                return None
            if not self._turn.wait_for(lambda: not self.rule.waits(rank), self.config.timeout_s):
                raise RuntimeError("the others did not come")
        self.rule.fetched(rank)
        reply = Message(Kind.WEIGHTS, self.weights.version, numbers=self.weights.read())
        traffic.exchange(sent=reply.bytes)
        return reply

    def _leave(self, rank: int) -> None:
        self._active.discard(rank)
        self.rule.left(rank, self._active)
        self._turn.notify_all()

    def _lose(self, rank: int) -> None:
        """Go on without a worker."""
        if rank in self.live:
            self.live.remove(rank)
            self.lost.append(rank - 1)
        self._leave(rank)

    def _write(self, vector: Tensor) -> None:
        self._vector.write(vector)
        for spread in self._statistics[1::2]:
            spread.clamp_(min=0)  # a variance that stale updates have moved
        self._trainer.stepped()
