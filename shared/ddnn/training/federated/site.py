"""A site: a whole group of devices with events of its own, which learns from them and sends weights."""

from collections.abc import Mapping
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from ddnn.data import Dataset
from ddnn.errors import BadConfig
from ddnn.training.config import Config
from ddnn.training.distributed.vector import Vector
from ddnn.training.distributed.workers import learning, statistics
from ddnn.training.federated.dp import clipped
from ddnn.training.federated.drift import Drift
from ddnn.training.federated.secret import Hidden
from ddnn.training.federated.settings import Federated, What
from ddnn.training.federated.wire import Parcel
from ddnn.training.initial import statistics_of
from ddnn.training.trainer import Trainer

__all__ = ["Shared", "Site", "of_one_device", "pooled", "shared_of"]


class Shared(NamedTuple):
    """What travels of a network: all of it, in the order weights, statistics, moments."""

    all: Vector  #: (m,)
    norms: Vector  #: of that, what batch norms have
    moments: Vector  #: and what inputs are normalised by
    learning: Vector  #: and the weights that learn

    @property
    def changing(self) -> int:
        """How many of the first numbers a site changes."""
        return self.all.count - self.moments.count


def shared_of(trainer: Trainer, what: What = "network") -> Shared:
    """All of a network, or the section of its devices, which they have to share."""
    network = trainer.network
    inputs = list({id(each): each for each in network.inputs}.values())
    if any(each.slopes is not None for each in inputs):
        raise BadConfig(
            "tails is bend, whose curves are quantiles of all events; expected keep for a federated training"
        )
    mine, kept, of = learning(trainer), statistics(trainer), cast(nn.Module, network)
    if what == "device":
        if len(network.devices) != 1 or len(inputs) != 1 or not network.plan.config.shared_weights:
            raise BadConfig("network.shared_weights is false; expected true, for a section that devices average")
        of = network.devices[0]
        mine = [weight for weight in of.parameters() if weight.requires_grad]
        kept = statistics_of(of) if kept else []
    norms = [module for module in of.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    local = [weight for norm in norms for weight in norm.parameters()]
    moments = [tensor for each in inputs for tensor in (each.mean, each.spread)]
    return Shared(Vector(mine + kept + moments), Vector(local + kept), Vector(moments), Vector(mine))


class Site:
    """Learns from its own events whenever it is sent weights; what it sends is weights, and how many events it has."""

    def __init__(self, name: str, config: Config, data: Dataset, settings: Federated, seed: int) -> None:
        self.name, self.settings, self._drift = name, settings, Drift(settings)
        wanted = config.changed(epochs=settings.rounds * settings.epochs, average=0.0)
        if settings.what == "device":
            wanted = of_one_device(wanted)
        self.trainer = Trainer(wanted, data, seed=seed, exchange=self._drift)
        self.events = int((data.split == "train").sum())
        self._shared = shared_of(self.trainer, settings.what)
        self.vector, self._norms, self._moments = self._shared.all, self._shared.norms, self._shared.moments
        self._hidden = Hidden() if settings.secret else None
        self._drift.of(self._shared.learning)
        self.count = self.vector.count + self._drift.count
        """Numbers of a parcel."""

    def introduce(self) -> bytes:
        """Its moments of the views, from which all inputs are normalised alike, and how many events they are of.

        With a limit to what a site may tell, it says neither.
        """
        if self.settings.clip:
            return Parcel(0, torch.zeros(self._moments.count), 1).packed()
        return Parcel(0, self._moments.read(), self.events).packed()

    def work(self, body: bytes) -> bytes:
        """Answer a turn: learn for a round from the weights that it was sent, and give those that it comes to."""
        if self._hidden:
            return self._hidden.answer(body, self.count, self.learnt)
        return self.learnt(Parcel.unpacked(body, self.count)).packed()

    def kept(self) -> dict[str, bytes]:
        """What it knows besides its events and what it is sent: all that one made anew lacks."""
        norms = {"norms": self._norms.read().numpy().tobytes()} if self.settings.method == "fedbn" else {}
        return norms | self._drift.kept() | (self._hidden.kept() if self._hidden else {})

    def recall(self, kept: Mapping[str, bytes]) -> None:
        """Go on from what a site with the same name, config and events has kept, as if it were that one."""
        if "norms" in kept:
            self._norms.write(torch.from_numpy(np.frombuffer(kept["norms"], np.float32).copy()))
        self._drift.recall(kept)
        if self._hidden:
            self._hidden.recall(kept)

    def learnt(self, sent: Parcel) -> Parcel:
        """The weights that it comes to in a round from those that were sent."""
        own = self._norms.read()
        weights, others = sent.vector[: self.vector.count], sent.vector[self.vector.count :]
        self.vector.write(weights)
        if self.settings.method == "fedbn" and sent.round:
            self._norms.write(own)
        if self.trainer.sparse:
            self.trainer.sparse.take()
        self._drift.begin_round(sent.round, others)
        if self.settings.keeps(sent.round) and self.trainer.config.training.norms != "keep":
            self.trainer.config = self.trainer.config.changed(norms="keep")
            self.trainer.network.eval()  # the next step says what of it learns
        self.trainer.optimizer.state.clear()  # of weights that it has no more
        loss, epochs = 0.0, self.settings.epochs
        for epoch in range(epochs):
            total, _ = self.trainer.apart(sent.round * epochs + epoch)
            loss += total / len(self.trainer.batches) / epochs
        made, clip, size = self.vector.read(), self.settings.clip, self._shared.changing
        if not clip:
            whole = torch.cat([made, self._drift.end_round()])
            return Parcel(sent.round, whole, self.events, loss, sparse=self.trainer.sparse is not None)
        # How many events it has, and how well it does on them, would tell of them too.
        near = clipped(weights[:size], made[:size], clip)
        return Parcel(sent.round, torch.cat([near, weights[size:]]), 1)


def of_one_device(config: Config) -> Config:
    """What a device learns by, which has a view and labels of its own: its section, from its own exit."""
    alone = config.changed("network", devices=[], edges=0)
    return alone.changed(device_weight=1.0, local_weight=0.0, edge_weight=0.0, cloud_weight=0.0, liars=0.0, distil=0.0)


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
