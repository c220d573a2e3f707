"""The server's side: labels, the sections above the cut, and a forward and a backward pass through devices elsewhere.

It is the exchange of a training whose device sections learn elsewhere. What comes up is what the sections above take
in; the gradients of it go down with the next order, so that a step is one order and one answer a device.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ddnn.data import Dataset
from ddnn.errors import BadConfig, BadData, BadInput, WorkerLost
from ddnn.network.ddnn import side_by_side
from ddnn.network.sections import Blocks
from ddnn.topology import View
from ddnn.training.config import Config
from ddnn.training.distributed.traffic import Traffic
from ddnn.training.exchange import Watcher
from ddnn.training.loader import Batch, Loader, Part
from ddnn.training.split.device import Device, cut_of, state_of, take_state
from ddnn.training.split.wire import LEARN, START, STATE, Answer, Order
from ddnn.training.trainer import Trainer

__all__ = ["Devices", "Simulated", "Split", "refuse_unsplit", "told_of"]


class Devices(Protocol):
    """What carries orders: a simulation, or a network."""

    def there(self) -> Mapping[int, int]:
        """Of the devices that are there, how often each has come anew; the first time, all are waited for."""

    def ask(self, orders: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """Give each of some devices its order; the answers of those that are not lost."""


class Simulated:
    """Devices of this process, one after the other."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self._devices = {device.index: device for device in devices}

    def there(self) -> Mapping[int, int]:
        """All, from the beginning."""
        return dict.fromkeys(self._devices, 0)

    def ask(self, orders: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """One after the other."""
        return {index: self._devices[index].obey(body) for index, body in orders.items()}


class _Lost(Exception):
    """Devices have not answered in the middle of a step."""


class Split:
    """The exchange of the server, which has the labels of the training events and none of their views.

    Args:
        devices: What carries orders and answers.
        data: The training events' labels, and of which of them each device saw something; its training views are not
            looked at.
    """

    part: Part | None = None

    def __init__(self, devices: Devices, data: Dataset) -> None:
        self.devices, self.data, self.traffic = devices, data, Traffic()
        self._turn, self._came, self._alive = 0, dict[int, int](), set[int]()
        self._said: dict[int, tuple[Tensor, Tensor]] = {}
        self._due, self._rate = dict[int, Tensor](), 0.0
        self._lost = set[int]()

    def begin(self, trainer: Trainer) -> None:
        """Have the trainer ask devices elsewhere; raise `BadConfig` where its network cannot be split."""
        refuse_unsplit(trainer.config)
        if any(isinstance(device, Blocks) and device.beside for device in trainer.network.devices):
            raise BadConfig("network.device has classifiers beside its section, which need views; expected none")
        self._trainer, self._resumed = trainer, bool(trainer.metrics)
        self._cuts = [cut_of(trainer.network, index) for index in range(self.data.devices)]
        learning = np.flatnonzero(self.data.split == "train")
        place = np.zeros(len(self.data), np.int64)
        place[learning] = np.arange(len(learning))
        rows = replace(self.data, views=(place,) * self.data.devices)
        trainer.given = Loader(rows, learning, batch=trainer.config.training.batch, place=trainer.place)
        trainer.below = self.below

    def learn(self, epoch: int, watcher: Watcher) -> tuple[float, int]:
        """Make an epoch's steps; raise `WorkerLost` when no device is there any more."""
        trainer, total, events = self._trainer, 0.0, 0
        self._gather(again=epoch > 0 or self._resumed)
        for done, batch in enumerate(trainer.batches, 1):
            total += self._step(batch)
            events += len(batch.y)
            watcher.step(epoch, done, len(trainer.batches))
        for index, answer in self._ask(STATE, {index: {} for index in self._alive}).items():
            try:
                take_state(trainer.network.devices[index], answer.body, f"device {index}")
            except BadInput:
                self._lose({index})
        return total, events

    def below(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Rows (B,) of each device → what they say of them, scores (B, D, K) and cuts (B, D, *cut)."""
        rows = {index: rows for index, rows in enumerate(views) if index in self._alive}
        answers = self._ask(LEARN, {index: {"rows": each.cpu()} for index, each in rows.items()})
        said = dict[int, tuple[Tensor, Tensor]]()
        for index, answer in answers.items():
            try:
                said[index] = self._cuts[index].unpacked(answer.body, len(rows[index]))
            except BadInput:
                self._lose({index})
        if said.keys() != rows.keys():
            raise _Lost
        self._said = {index: (each.requires_grad_(), cut.requires_grad_()) for index, (each, cut) in said.items()}
        count, place = len(views[0]), self._trainer.place
        nothing = {
            index: (torch.zeros(count, cut.classes), torch.zeros(count, *cut.shape))
            for index, cut in enumerate(self._cuts)
            if index not in said
        }
        scores, cuts = zip(*((self._said | nothing)[index] for index in range(len(views))), strict=True)
        return torch.stack(scores, dim=1).to(place), side_by_side(cuts).to(place)

    def gradients(self) -> None:
        """Keep what has come back to the cut, to be sent with the next order."""
        for index, (scores, cut) in self._said.items():
            parts = [torch.zeros_like(each) if each.grad is None else each.grad for each in (scores, cut)]
            self._due[index] = torch.cat([part.flatten(1) for part in parts], dim=1).flatten()
        self._said, self._rate = {}, float(self._trainer.optimizer.param_groups[0]["lr"])

    def stepped(self) -> bool:
        """What is above has moved; devices do when they get the gradients."""
        return True

    def judged(self, judge: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Judge by the events that the server has, with the weights that devices have sent."""
        return {**judge(), "lost": sorted(self._lost), "exchanged": self.traffic.document()}

    def chosen(self, best: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of the best epoch, devices' as they were then."""
        return best

    def document(self) -> dict[str, Any]:
        """For the manifest."""
        return {"mode": "split", "workers": self.data.devices, "exchanged": self.traffic.document()}

    def _gather(self, *, again: bool) -> None:
        """See who is there; those that have come anew since start from the weights that the server has of them."""
        there = self.devices.there()
        self._lost, self._alive = set(), set(there)
        anew = [index for index, times in there.items() if self._came.get(index) != times]
        self._came = dict(there)
        self._due = {index: due for index, due in self._due.items() if index not in anew}
        if again and anew:
            sections = self._trainer.network.devices
            self._ask(START, {index: {"state": state_of(sections[index])} for index in anew})
        self._lost = set(range(self.data.devices)) - self._alive

    def _step(self, batch: Batch) -> float:
        """Learn from a batch of those that are there; again without one that is lost in the middle of it."""
        while True:
            here = torch.tensor([index in self._alive for index in range(self.data.devices)], device=batch.y.device)
            present = batch.present & here
            some = present.any(dim=1)
            if not some.any():
                if not self._alive:
                    raise WorkerLost("no device is there any more; start them again, and go on with --resume")
                return 0.0
            try:
                return float(
                    self._trainer.step(
                        Batch([rows[some] for rows in batch.views], batch.y[some], batch.y_dev[some], present[some])
                    )
                )
            except _Lost:
                continue

    def _ask(self, kind: int, orders: Mapping[int, Mapping[str, Any]]) -> dict[int, Answer]:
        """Orders by device, each with the gradients that are due; what comes back of those that are not lost."""
        self._turn += 1
        bodies = {
            index: Order(kind, self._turn, self._rate, self._due.pop(index, None), **order).packed()
            for index, order in orders.items()
        }
        came = self.devices.ask(bodies)
        for index, body in bodies.items():
            weights = len(orders[index].get("state", b""))
            self.traffic.exchange(sent=len(body) - weights, messages=kind != START)
            self.traffic.control += weights
        for body in came.values():
            self.traffic.exchange(received=len(body) if kind == LEARN else 0, messages=kind == LEARN)
            self.traffic.control += len(body) if kind == STATE else 0
        answers = {index: answer for index, body in came.items() if (answer := _answer(body))}
        self._lose(orders.keys() - answers.keys())
        return answers

    def _lose(self, gone: Set[int]) -> None:
        self._alive -= gone
        self._lost |= gone


def _answer(body: bytes) -> Answer | None:
    try:
        return Answer.unpacked(body)
    except BadInput:  # what sends that is as good as lost, and may not end the training of the others
        return None


def refuse_unsplit(config: Config) -> None:
    """Raise `BadConfig` for a network that cannot learn split."""
    network = config.network
    if network.shared_weights:
        raise BadConfig("network.shared_weights is true; expected a section of each device's own to learn split")
    if network.cloud.takes == "views":
        raise BadConfig("network.cloud.takes is views, and views stay at their devices; expected features")
    if not network.device_section:
        raise BadConfig("network.device_section is false, and views stay at their devices; expected a device section")


def told_of(data: Dataset, config: Config, seed: int) -> dict[str, Any]:
    """What a device has to know before it can learn."""
    views = [View.of(view, data.picture).model_dump(mode="json") for view in data.views]
    events = int((data.split == "train").sum())
    if not events:
        raise BadData(f"{data.name} has no training events; expected their labels")
    document = config.model_dump(mode="json")
    return {"config": document, "seed": seed, "classes": list(data.classes), "views": views, "events": events}
