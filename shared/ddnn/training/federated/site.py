"""A site: a whole group of devices with events of its own, which learns from them and sends weights."""

import torch
from torch import Tensor

from ddnn.data import Dataset
from ddnn.errors import BadConfig
from ddnn.training.config import Config
from ddnn.training.distributed.vector import Vector
from ddnn.training.distributed.workers import learning, statistics
from ddnn.training.exchange import Alone
from ddnn.training.federated.settings import Federated
from ddnn.training.federated.wire import Parcel
from ddnn.training.trainer import Trainer

__all__ = ["Site", "shared_of"]


def shared_of(trainer: Trainer) -> tuple[Vector, Vector, Vector]:
    """What travels of a network: all of it; of that what batch norms have; and what its inputs are normalised by."""
    inputs = list({id(each): each for each in trainer.network.inputs}.values())
    if any(each.slopes is not None for each in inputs):
        raise BadConfig(
            "tails is bend, whose curves are quantiles of all events; expected keep for a federated training"
        )
    norms = [m for m in trainer.network.modules() if isinstance(m, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)]
    local = [weight for norm in norms for weight in norm.parameters()]
    mine = learning(trainer)
    moments = [tensor for each in inputs for tensor in (each.mean, each.spread)]
    return Vector(mine + statistics(trainer) + moments), Vector(local + statistics(trainer)), Vector(moments)


class Near(Alone):
    """FedProx (Li et al. 2020): the gradient of μ/2 ‖w − w₀‖² besides, w₀ being the weights that were sent."""

    mu = 0.0

    def begin(self, trainer: Trainer) -> None:
        """Nothing is sent yet."""
        super().begin(trainer)
        self.weights = Vector(learning(trainer))
        self.sent = self.weights.read()

    def gradients(self) -> None:
        """Add it."""
        if not self.mu:
            return
        pull = (self.weights.read() - self.sent).mul_(self.mu)
        for weight, part in zip(self.weights.tensors, torch.split(pull, self.weights.sizes), strict=True):
            if weight.grad is not None:
                weight.grad.add_(part.reshape(weight.shape).to(weight.device))


class Site:
    """Learns from its own events whenever it is sent weights; what it sends is weights, and how many events it has."""

    def __init__(self, name: str, config: Config, data: Dataset, settings: Federated, seed: int) -> None:
        self.name, self.settings, self._near = name, settings, Near()
        wanted = config.changed(epochs=settings.rounds * settings.epochs, average=0.0)
        self.trainer = Trainer(wanted, data, seed=seed, exchange=self._near)
        self.events = int((data.split == "train").sum())
        self.vector, self._norms, self._moments = shared_of(self.trainer)

    def introduce(self) -> bytes:
        """Its moments of the views, from which all inputs are normalised alike, and how many events they are of."""
        return Parcel(0, self._moments.read(), self.events).packed()

    def work(self, body: bytes) -> bytes:
        """Learn for a round from the weights that it was sent; the weights that it comes to."""
        sent = Parcel.unpacked(body, self.vector.count)
        own = self._norms.read()
        self.vector.write(sent.vector)
        if self.settings.method == "fedbn" and sent.round:
            self._norms.write(own)
        self._near.mu = self.settings.mu if self.settings.method == "fedprox" else 0.0
        self._near.sent = self._near.weights.read()
        self.trainer.optimizer.state.clear()  # of weights that it has no more
        loss, epochs = 0.0, self.settings.epochs
        for epoch in range(epochs):
            total, _ = self.trainer.apart(sent.round * epochs + epoch)
            loss += total / len(self.trainer.batches) / epochs
        return Parcel(sent.round, self.vector.read(), self.events, loss).packed()


def pooled(moments: list[Tensor], events: list[int], sizes: list[int]) -> Tensor:
    """Means and spreads of sites → those of all their events; `sizes` are of mean, spread, mean, spread, …"""
    parts = [torch.split(each.double(), sizes) for each in moments]
    total, made = sum(events), list[Tensor]()
    for at in range(0, len(sizes), 2):
        mean = sum((n * part[at] for n, part in zip(events, parts, strict=True)), torch.zeros(sizes[at])) / total
        squares = (n * (part[at + 1] ** 2 + part[at] ** 2) for n, part in zip(events, parts, strict=True))
        variance = sum(squares, torch.zeros(sizes[at])) / total - mean**2
        made += [mean, variance.clamp(min=0).sqrt()]
    return torch.cat(made).float()
