"""The training loop: all exits at once, the best epoch kept, each epoch a place to resume from."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ddnn.data import Dataset
from ddnn.data.watched import watched
from ddnn.errors import BadConfig
from ddnn.network import DDNN, Plan, ViewSpec
from ddnn.network.quantise import clip_weights
from ddnn.network.sections import Normalise
from ddnn.training.augment import augment, drop_devices
from ddnn.training.config import Config
from ddnn.training.loss import joint_loss
from ddnn.training.run import Checkpoint, Run
from ddnn.training.validate import validate
from ddnn.types import Array, Exit

__all__ = ["Silent", "Watcher", "initial_network", "train"]

State = dict[str, Tensor]


class Watcher(Protocol):
    """Who wants to see the training go on."""

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


def initial_network(config: Config, data: Dataset, seed: int) -> DDNN:
    """The network before training: weights by `seed`, input normalisation by the training events."""
    views = [ViewSpec(view.shape[1:], view.dtype == np.uint8) for view in data.views]
    plan = Plan.of(config.network, views, len(data.classes))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = DDNN(plan)
    rows = data.split == "train"
    parts: dict[Normalise, list[Array]] = {}  # devices that share their weights share this too
    for index, (normalise, view) in enumerate(zip(network.inputs, data.views, strict=True)):
        parts.setdefault(normalise, []).append(view[rows & data.present[:, index]])
    for normalise, views_seen in parts.items():
        seen = np.concatenate(views_seen).astype(np.float64)
        axes = (0, *range(2, seen.ndim))
        if len(seen):
            mean, spread = seen.mean(axis=axes), seen.std(axis=axes)
            spread[spread < 1e-6] = 1.0  # a channel that never changes tells nothing; do not blow up its rounding
            normalise.mean.copy_(torch.from_numpy(mean).reshape(normalise.mean.shape))
            normalise.spread.copy_(torch.from_numpy(spread).reshape(normalise.spread.shape))
    return network


def train(
    config: Config,
    data: Dataset,
    *,
    seed: int,
    run: Run | None = None,
    resume: bool = False,
    watcher: Watcher | None = None,
) -> DDNN:
    """Train on `data` and return the network of the best epoch, on the CPU, in evaluation mode.

    With a `run`, every epoch is saved to it; with `resume`, training goes on after the last one saved and gives the
    same result as if it had never stopped (bit for bit on one kind of CPU).
    """
    trainer = _Trainer(config, data, seed, run)
    if resume and run:
        trainer.restore(run.load())
    elif run:
        run.start(config)
        trainer.save()
    with torch.random.fork_rng():
        trainer.go_on(watcher or Silent())
    return trainer.best_network()


class _Trainer:
    def __init__(self, config: Config, data: Dataset, seed: int, run: Run | None) -> None:
        self.config, self.seed, self.run, self.grid, self.name = config, seed, run, data.grid, data.name
        # The content alone would let a run go on under another split, and learn from the events it is then tested on.
        split = hashlib.sha256("\n".join(data.split).encode()).hexdigest()
        self.origin: dict[str, Any] = {
            "seed": seed,
            "data": data.fingerprint,
            "source": dict(data.source),
            "split": split,
        }
        self.place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = initial_network(config, data, seed).to(self.place)
        decay = config.training.weight_decay
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.0, weight_decay=decay, fused=True)
        validation = data.subset("validation")
        few = watched(len(validation))
        self.training, self.validation = self._tensors(data.subset("train")), self._tensors(validation.take(few))
        self.steps = max(len(self.training[1]) // config.training.batch, 1)
        self.average = self._copy()
        self.best = self._copy()
        self.metrics: list[Mapping[str, Any]] = []

    def _tensors(self, data: Dataset) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        views = [torch.from_numpy(view).to(self.place) for view in data.views]
        labels = np.where(data.present, data.y_dev, -1)  # a device without a view has nothing to learn from
        y, y_dev, present = (torch.from_numpy(array).to(self.place) for array in (data.y, labels, data.present))
        return views, y, y_dev, present

    def _copy(self) -> State:
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def go_on(self, watcher: Watcher) -> None:
        config = self.config.training
        for epoch in range(len(self.metrics), config.epochs):
            if self._patience_is_over():
                break
            # Chance is made from seed and epoch alone, so an epoch runs alike whether or not the run was interrupted.
            torch.manual_seed(int(np.random.SeedSequence((self.seed, epoch)).generate_state(1, np.uint64)[0] >> 1))
            loss = self._epoch(epoch, watcher)
            kept, trained = self._swap(self.average if config.average else self._copy())
            lost = self.config.training.device_dropout > 0
            found = validate(self.network, *self.validation, by=self._last_exit(), lost=lost)
            self._swap(trained)
            record = {"epoch": epoch, "loss": loss, "learning_rate": self._rate((epoch + 1) * self.steps - 1), **found}
            if found["score"] >= max((float(r["score"]) for r in self.metrics), default=-1.0):
                self.best = kept
            self.metrics.append(record)
            self.save()
            watcher.epoch(record)

    def _patience_is_over(self) -> bool:
        scores, patience = [float(record["score"]) for record in self.metrics], self.config.training.patience
        return bool(patience and scores) and len(scores) - 1 - scores.index(max(scores)) >= patience

    def _last_exit(self) -> Exit:
        """The highest exit that learns; the best epoch of one that does not would be chosen by chance."""
        there = self.network.topology.exits
        weights = {exit: getattr(self.config.training, f"{exit.value}_weight") for exit in there}
        return max((exit for exit in there if weights[exit]), key=lambda exit: exit.rank, default=Exit.CLOUD)

    def _swap(self, state: State) -> tuple[State, State]:
        """Put `state` into the network; return a copy of it and what was there before."""
        before = self._copy()
        self.network.load_state_dict(state)
        return self._copy(), before

    def _epoch(self, epoch: int, watcher: Watcher) -> float:
        config = self.config.training
        views, y, y_dev, present = self.training
        order = torch.randperm(len(y), device=self.place)
        spreads = [normalise.spread for normalise in self.network.inputs]
        self.network.train()
        total = torch.zeros((), device=self.place)
        for step, rows in enumerate(order.tensor_split(self.steps)):
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate(epoch * self.steps + step)
            batch = augment([view[rows] for view in views], spreads, self.grid, config)
            loss = self._loss(batch, y[rows], y_dev[rows], present[rows])
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            clip_weights(self.network)
            self._follow(config.average)
            total += loss.detach()
            watcher.step(epoch, step + 1, self.steps)
        if not torch.isfinite(total):
            raise BadConfig(
                f"training.learning_rate is {config.learning_rate}: the loss grew past all bounds; expected less"
            )
        return float(total) / self.steps

    def _loss(self, views: list[Tensor], y: Tensor, y_dev: Tensor, present: Tensor) -> Tensor:
        """The joint loss of a step's events, some with all their devices, the others with devices lost."""
        config = self.config.training
        if config.device_dropout and present.shape[1] > 1:
            present = drop_devices(present, config.device_dropout, config.whole)
        scored = self.network(views, present)
        loss = joint_loss(scored, y, y_dev, self.network.alive(present), config)
        if not loss.requires_grad:
            raise BadConfig("training: the weights of all exits that the network has are 0; expected one above")
        return loss

    def _rate(self, step: int) -> float:
        """Warm up linearly, then stay, or fall along a cosine to a hundredth."""
        config, steps = self.config.training, self.steps * self.config.training.epochs
        warm = config.warmup * steps
        if step < warm:
            return config.learning_rate * (step + 1) / (warm + 1)
        if config.schedule == "constant":
            return config.learning_rate
        done = (step - warm) / max(steps - warm, 1)
        return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)

    def _follow(self, keep: float) -> None:
        if not keep:
            return
        done = int(next(iter(self.optimizer.state.values()))["step"])
        keep = min(keep, done / (done + 10))  # the first steps' average would else be of the initial weights
        # All at once: one by one, two hundred small tensors would cost as much as a section.
        state = self.network.state_dict()
        floats = [name for name, tensor in state.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.average[name] for name in floats], [state[name] for name in floats], 1 - keep)
        for name in state.keys() - set(floats):
            self.average[name].copy_(state[name])

    def save(self) -> None:
        if self.run is None:
            return
        tensors = {
            f"{kind}.{name}": tensor
            for kind, state in (("network", self.network.state_dict()), ("average", self.average), ("best", self.best))
            for name, tensor in state.items()
        }
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
        self.run.save(Checkpoint(tensors, {**self.origin, "metrics": self.metrics}), self.metrics)

    def restore(self, checkpoint: Checkpoint) -> None:
        self._refuse_other_data(checkpoint.state)
        kinds: dict[str, State] = {"network": {}, "average": {}, "best": {}, "optimizer": {}}
        for name, tensor in checkpoint.tensors.items():
            kind, rest = name.split(".", 1)
            kinds[kind][rest] = tensor.to(self.place)
        self.network.load_state_dict(kinds["network"])
        self.average, self.best = kinds["average"], kinds["best"]
        states: dict[int, State] = {}
        for name, tensor in kinds["optimizer"].items():
            index, entry = name.split(".", 1)
            states.setdefault(int(index), {})[entry] = tensor.cpu() if entry == "step" else tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": states})
        self.metrics = list(checkpoint.state["metrics"])

    def _refuse_other_data(self, kept: Mapping[str, Any]) -> None:
        """Raise `BadConfig` unless the checkpoint is of the same events under the same split."""
        was, mine = kept.get("source") or {}, self.origin["source"]
        # Where the file lies does not matter, its content and split do.
        flags = [key for key in mine if key != "name" and was.get(key) != mine[key]]
        if kept.get("seed") != self.origin["seed"]:
            which = f"seed is {self.origin['seed']}, it was {kept.get('seed')}"
        elif kept.get("data") != self.origin["data"]:
            which = "its content differs"
        elif flags:
            which = "its split differs: " + ", ".join(f"{key} is {mine[key]}, it was {was.get(key)}" for key in flags)
        elif kept.get("split") != self.origin["split"]:
            which = "its split differs"
        else:
            return
        folder = self.run.path if self.run else "the run"
        raise BadConfig(f"{mine.get('name', self.name)} is not the data that {folder} was started with: {which}")

    def best_network(self) -> DDNN:
        self.network.load_state_dict(self.best)
        return self.network.cpu().eval()
