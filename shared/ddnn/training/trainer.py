"""The trainer: all exits at once, the best epoch kept, each epoch a place to resume from."""

import math
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.data.split import watched
from ddnn.data.stored import at_once
from ddnn.errors import BadConfig
from ddnn.network import DDNN, Still, batched
from ddnn.network.products import halved
from ddnn.network.quantise import clip_weights, signed_weights
from ddnn.task import CLASSIFICATION, Task
from ddnn.training.config import Config
from ddnn.training.cuts import fit_cuts, hold_cuts, still
from ddnn.training.exchange import Exchange, Lesson, Silent, Watcher
from ddnn.training.fitting import fit_beside
from ddnn.training.initial import initial_network, keep_norms, load_weights, optimizer_of, sections_named
from ddnn.training.liars import Below, scored_with_liars
from ddnn.training.loader import Batch, Batches, Loader, augment, drop_devices, standing_in
from ddnn.training.loss import LOSSES, class_weights, validate
from ddnn.training.privacy import told_beside_the_class
from ddnn.training.run import Checkpoint, Run, State, origin_of, refuse_other_data, weights_of
from ddnn.training.sparse import sparse_of
from ddnn.training.threads import Threads
from ddnn.types import Exit

__all__ = ["Silent", "Trainer", "Watcher", "initial_network", "train"]

FOLLOW: Final = 4  #: steps after which the averaged weights move, as far as in as many single ones
PART: Final = 8  #: events that a batch norm sees together, at least
VALIDATED: Final = 512  #: validation events that devices' sections run on together, at most


def train(
    config: Config,
    data: Dataset,
    *,
    seed: int,
    run: Run | None = None,
    resume: bool = False,
    watcher: Watcher | None = None,
    initial: Bundle | None = None,
    freeze: Collection[str] = (),
    exchange: Exchange | None = None,
) -> DDNN:
    """Train on `data`, as a `Trainer` does; return the network of the best epoch, on the CPU, in evaluation mode.

    Resumed, it gives the same result as if it had never stopped (bit for bit on one kind of CPU).
    """
    wishes: dict[str, Any] = {"run": run, "resume": resume, "initial": initial, "freeze": freeze}
    trainer = Trainer(config, data, seed=seed, exchange=exchange, **wishes)
    while not trainer.over:
        trainer.epoch(watcher)
    return trainer.best()


class Trainer:
    """Trains a network: whole epochs, or step by step on batches from anywhere.

    Args:
        config: The network and how it learns.
        data: What it is validated on and, without `batches`, learns from; with its mean and spread, views are
            normalised. Views that stay in a file are read batch by batch.
        seed: Makes first weights, order and random changes.
        run: Folder that every epoch is saved to.
        resume: Go on after the last epoch that `run` has.
        initial: Bundle whose weights training starts from; it must have the same sections.
        freeze: Sections that keep their weights: `device`, `local`, `edge`, `cloud`, or one of several: `device_0`.
        batches: Epochs of batches of the caller's own, instead of the training events of `data`.
        task: What scores mean, and so the loss.
        exchange: What it learns together with, if it does not learn alone.

    Raises:
        BadConfig: The configuration does not fit the data, a section to freeze does not exist, weights do not fit, or
            `run` was made with other data.

    Example:
        >>> from ddnn.data import load
        >>> from ddnn.training import Config, Trainer
        >>> trainer = Trainer(Config().changed(epochs=1), load("synthetic"), seed=0, freeze=["device"])
        >>> trainer.epoch()["epoch"]
        0
        >>> network = trainer.best()
    """

    def __init__(
        self,
        config: Config,
        data: Dataset,
        *,
        seed: int = 0,
        run: Run | None = None,
        resume: bool = False,
        initial: Bundle | None = None,
        freeze: Collection[str] = (),
        batches: Batches | None = None,
        task: Task = CLASSIFICATION,
        exchange: Exchange | None = None,
    ) -> None:
        self.config, self.seed, self.run, self._grid, self._loss = config, seed, run, data.grid, LOSSES[task.name]
        self._data, self._exchange = data, exchange
        self.origin = origin_of(data, seed, initial, freeze)
        self.place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        """Where the network is while it learns."""
        self.network = initial_network(config, data, seed).to(self.place)
        """What learns; its weights change with every step."""
        if initial is not None:
            load_weights(self.network, weights_of(initial), f"the weights of {initial.path}")
        self._frozen = sections_named(self.network, freeze)
        for section in self._frozen:
            section.requires_grad_(False)
        self._signed = signed_weights(self.network)
        if initial is None and not (run and resume):
            fit_cuts(self.network, data, config.training, seed)
        hold_cuts(self.network)
        self._joined = batched.Joined(self.network.devices)
        self.sparse = sparse_of(self.network, config.training, seed, fresh=initial is None)
        self.optimizer = optimizer_of(config.training, self._joined.weights(self.network))
        """What moves the weights."""
        balanced = config.training.class_weights == "balanced"
        self._weights = class_weights(data).to(self.place) if balanced else None
        self.metrics: list[Mapping[str, Any]] = []
        """What each epoch gave."""
        self._behind, self._threads = 0, Threads()
        self.speed: dict[str, Any] = {}
        """Of the last epoch, validation included: `events_per_s`, and the `threads` it had."""
        self._average, self._best = self.state(), self.state()
        self._followed: list[tuple[list[Tensor], list[Tensor]]] = []
        if run and resume:
            self.restore(run.load(), run.path)
        elif run:
            run.start(config)
            self._save()
        self.given = batches
        """Batches of the caller's own, or of an exchange whose events are elsewhere."""
        self.below: Below | None = None
        """What device sections that learn elsewhere say of their views, whose rows the batches have in their place."""
        self.lesson: Lesson | None = None
        """What is learnt beside the labels."""
        if exchange:
            exchange.begin(self)
        self._feed()
        self.network.eval()  # the first step says what of it learns

    def _feed(self) -> None:
        """Take what is learnt from and validated on, as the network's weights are now."""
        data, self._still = self._data, cast(Still, None)
        if self.given is None and not self.over:
            data, self._still = still(self.network, data, self.config.training)
        rows, learning = (np.flatnonzero(data.split == split) for split in ("validation", "train"))
        rows, few = rows[watched(len(rows))], at_once(data.views, VALIDATED)
        self._validation = Loader(data, rows, batch=few, place=self.place, in_order=True)
        few, part = self.config.training.batch, self._exchange.part if self._exchange else None
        self.batches: Batches = self.given or Loader(data, learning, batch=few, place=self.place, part=part)
        """An epoch's batches."""
        self._made = len(self.metrics) * len(self.batches)

    @property
    def over(self) -> bool:
        """Whether all epochs are made, or patience has ended."""
        scores, patience = [float(record["score"]) for record in self.metrics], self.config.training.patience
        waited = bool(patience and scores) and len(scores) - 1 - scores.index(max(scores)) >= patience
        waited = waited or bool(self.metrics and self.metrics[-1].get("agreed"))
        return waited or len(scores) >= self.config.training.epochs

    def step(self, batch: Batch) -> Tensor:
        """Learn from one batch: changed at random, some events with devices lost; return its loss ().

        Chance is torch's global generator. Raise `BadConfig` where no exit with a weight has anything to learn.
        """
        config = self.config.training
        if not self.network.training or any(section.training for section in self._frozen):
            self.network.train()
            for section in self._frozen:
                section.eval()  # its batch norms must not move either
            if self.config.training.norms == "keep":
                keep_norms(self.network)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(self._made)
        views, y, y_dev, present = batch.to(self.place)
        if not present.all():  # what is not seen may teach the batch norms nothing
            views = [view[standing_in(seen)] for view, seen in zip(views, present.unbind(dim=1), strict=True)]
        if not (self._still or self.below):
            views = augment(views, [(each.mean, each.spread) for each in self.network.inputs], self._grid, config)
        if config.device_dropout and present.shape[1] > 1:
            present = drop_devices(present, config.device_dropout, config.whole)
        with halved():
            loss = self._backward(Batch(views, y, y_dev, present))
        if self._exchange:
            self._exchange.gradients()
        self.optimizer.step()
        self.stepped(self._exchange is None or self._exchange.stepped())
        return loss

    def stepped(self, agreed: bool = True) -> None:
        """The weights have moved, to what they are everywhere if that is `agreed`: clip them, move their average."""
        clip_weights(self._signed)
        if self.sparse:
            self.sparse.keep()
        self._made, self._behind = self._made + 1, self._behind + 1
        if agreed and self._behind >= FOLLOW:
            self._follow()

    def _backward(self, batch: Batch) -> Tensor:
        """Make the gradients of a batch, of large views part by part, as memory holds a part's values; its loss ()."""
        self.optimizer.zero_grad()
        total, count, share = torch.zeros((), device=self.place), len(batch.y), self.config.training.liars
        for views, y, y_dev, present in batch.cut(max(min(-(-count // at_once(batch.views, count)), count // PART), 1)):
            alive = self.network.alive(present)
            scored = scored_with_liars(self.network, views, y, present, share, self._still, self.below)
            loss = self._loss(scored, y, y_dev, alive, self.config.training, self._weights)
            if self.config.training.privacy:
                loss = loss + self.config.training.privacy * told_beside_the_class(self.network, scored, y, y_dev)
            if self.lesson:
                loss = loss + self.lesson(Batch(views, y, y_dev, present), scored)
            if not loss.requires_grad:
                none = "the weights of all exits that the network has are 0"
                also = ", or their sections are frozen" if self._frozen else ""
                raise BadConfig(f"training: {none}{also}; expected one above")
            (loss * (len(y) / count)).backward()  # type: ignore[no-untyped-call]
            total += loss.detach() * (len(y) / count)
        self._joined.gather()
        return total

    def epoch(self, watcher: Watcher | None = None) -> Mapping[str, Any]:
        """Learn from all batches once, validate, keep the best so far, save; return the epoch's line of metrics.

        Chance is made from seed and epoch alone; torch's global generator is left as it was. Raise `BadConfig` when
        the loss grows past all bounds.
        """
        with self._threads.lent():
            return self._epoch(watcher or Silent())

    def _epoch(self, watcher: Watcher) -> Mapping[str, Any]:
        epoch, steps, begun = len(self.metrics), len(self.batches), time.perf_counter()
        self._made = epoch * steps
        if self.sparse and self.sparse.due(epoch):
            self.sparse.remove([self._average])
        with self._chance(epoch):
            learn = self._exchange.learn if self._exchange else self.learn
            total, events = learn(epoch, watcher)
        if not math.isfinite(total):
            rate = self.config.training.learning_rate
            raise BadConfig(f"training.learning_rate is {rate}: the loss grew past all bounds; expected less")

        def judge() -> dict[str, Any]:
            rate = self._rate((epoch + 1) * steps - 1)
            return {"epoch": epoch, "loss": total / steps, "learning_rate": rate, **self.validate()}

        record = self._exchange.judged(judge) if self._exchange else judge()
        if self.leads(record):
            self._best = self.state(averaged=True)
        self.metrics.append(record)
        self.speed = {"events_per_s": events / (time.perf_counter() - begun), "threads": torch.get_num_threads()}
        self._save()
        watcher.epoch(record)
        return record

    def leads(self, record: Mapping[str, Any]) -> bool:
        """Whether what an epoch came to is to be kept in the place of all before."""
        best = max((float(earlier["score"]) for earlier in self.metrics), default=-1.0)
        return self.config.training.keep == "last" or record["score"] >= best

    def apart(self, epoch: int) -> tuple[float, int]:
        """Make an epoch's steps as `epoch` does, and nothing else: what comes of them is judged elsewhere."""
        self._made = epoch * len(self.batches)
        with self._threads.lent(), self._chance(epoch):
            return self.learn(epoch, Silent())

    @contextmanager
    def _chance(self, epoch: int) -> Iterator[None]:
        with torch.random.fork_rng():
            torch.manual_seed(int(np.random.SeedSequence((self.seed, epoch)).generate_state(1, np.uint64)[0] >> 1))
            yield

    def learn(self, epoch: int, watcher: Watcher) -> tuple[float, int]:
        """Make the steps of an epoch; return the sum of their losses and how many events they had."""
        total, events = torch.zeros((), device=self.place), 0
        for done, batch in enumerate(self.batches, 1):
            with self._threads.step():
                total += self.step(batch)
            events += len(batch.y)
            watcher.step(epoch, done, len(self.batches))
        return float(total), events

    def validate(self) -> dict[str, Any]:
        """Accuracy per exit of the averaged weights on validation, with each device lost, and `score` over both."""
        config, trained = self.config.training, self.state()
        self._put(self.state(averaged=True))
        # By the highest exit that learns: the best epoch of one that does not would be chosen by chance.
        learning = [exit for exit in self.network.topology.exits if getattr(config, f"{exit.value}_weight")]
        by = learning[-1] if learning else Exit.CLOUD
        found = validate(self.network, self._validation, by=by, lost=config.device_dropout > 0, still=self._still)
        self._put(trained)
        return found

    def state(self, *, averaged: bool = False) -> State:
        """A copy of the weights by name: those that learn, or their average, which is what is validated and kept."""
        average = averaged and self.config.training.average
        if average:
            self._follow()
        state = self._average if average else self.network.state_dict()
        return {name: tensor.detach().clone() for name, tensor in state.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put weights into the network, and begin their average anew; raise `BadConfig` naming the first misfit."""
        load_weights(self.network, state, "the state")
        self._average, self._followed, self._behind = self.state(), [], 0
        self._feed()

    def best(self) -> DDNN:
        """The network of the best epoch, on the CPU, in evaluation mode; the trainer ends with it."""
        self.network.load_state_dict(self._exchange.chosen(self._best) if self._exchange else self._best)
        network = self.network.cpu().eval()
        fit_beside(network, self._data, self.config.training, self.seed)
        return network

    def _rate(self, step: int) -> float:
        """Warm up linearly, then stay, or fall along a cosine to a hundredth."""
        config, steps = self.config.training, len(self.batches) * self.config.training.epochs
        warm = config.warmup * steps
        if step < warm:
            return config.learning_rate * (step + 1) / (warm + 1)
        if config.schedule == "constant":
            return config.learning_rate
        done = min((step - warm) / max(steps - warm, 1), 1.0)
        return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)

    def _follow(self) -> None:
        """Move the averaged weights towards the present ones."""
        keep, behind = self.config.training.average, self._behind
        self._behind = 0
        if not keep or not behind:
            return
        # The first steps' average would else be of the first weights.
        keep = min(keep, self._made / (self._made + 10)) ** behind
        # All at once, and listed once: one by one, two hundred small tensors would cost as much as a section.
        if not self._followed:
            pairs = [(self._average[name], tensor) for name, tensor in self.network.state_dict().items()]
            for kind in (True, False):
                alike = [pair for pair in pairs if pair[0].is_floating_point() is kind]
                self._followed.append(([pair[0] for pair in alike], [pair[1] for pair in alike]))
        (floats, present), (counts, now) = self._followed
        torch._foreach_lerp_(floats, present, 1 - keep)
        if counts:
            torch._foreach_copy_(counts, now)

    def _put(self, state: State) -> None:
        """Give the network these weights; tensors that it had may be others now."""
        self.network.load_state_dict(state)
        self._followed = []
        if self.sparse:
            self.sparse.take()

    def checkpoint(self) -> Checkpoint:
        """Everything that this training goes on from."""
        kinds = {"network": self.state(), "average": self._average, "best": self._best}
        tensors = {f"{kind}.{name}": tensor for kind, state in kinds.items() for name, tensor in state.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items() if tensor is not None}
        return Checkpoint(tensors, {**self.origin, "metrics": self.metrics, "speed": self.speed})

    def _save(self) -> None:
        if self.run is not None:
            self.run.save(self.checkpoint(), self.metrics)

    def restore(self, checkpoint: Checkpoint, where: Path) -> None:
        """Go on from a checkpoint that lies in `where`; raise `BadConfig` where data or sections are others."""
        refuse_other_data(where, checkpoint.state, self.origin)
        kinds: dict[str, State] = {"network": {}, "average": {}, "best": {}}
        states: dict[int, State] = {}
        for name, tensor in checkpoint.tensors.items():
            kind, rest = name.split(".", 1)
            if kind == "optimizer":
                index, entry = rest.split(".", 1)
                states.setdefault(int(index), {})[entry] = tensor if entry == "step" else tensor.to(self.place)
            else:
                kinds[kind][rest] = tensor.to(self.place)
        learning = [weight.shape for group in self.optimizer.param_groups for weight in group["params"]]
        if any(place >= len(learning) or _misfit(state, learning[place]) for place, state in states.items()):
            raise BadConfig(f"{where} was started by another version of ddnn; start again with --force")
        self._average, self._best = kinds["average"], kinds["best"]
        self._put(kinds["network"])
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": states})
        self.metrics, self.speed = list(checkpoint.state["metrics"]), checkpoint.state.get("speed", {})
        self._threads = Threads(self.speed.get("threads"))


def _misfit(state: State, shape: torch.Size) -> bool:
    return any(tensor.shape != shape for entry, tensor in state.items() if entry != "step")
