"""The server of a federated training: it draws sites, sends them weights, and takes the mean of what comes back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ddnn.errors import BadInput, WorkerLost
from ddnn.training.distributed.arithmetic import mean
from ddnn.training.distributed.traffic import Traffic
from ddnn.training.exchange import Watcher
from ddnn.training.federated.dp import Noise, told_of
from ddnn.training.federated.moving import Mover
from ddnn.training.federated.secret import Gathered, summed
from ddnn.training.federated.settings import Federated
from ddnn.training.federated.site import Site, pooled, shared_of
from ddnn.training.federated.wire import Parcel, Phase, turn_of
from ddnn.training.loader import Part
from ddnn.training.trainer import Trainer

__all__ = ["Federation", "Simulated", "Sites", "drawn_of"]


class Sites(Protocol):
    """What carries parcels: a simulation, or a network."""

    def introductions(self) -> Mapping[str, bytes]:
        """What each site that is there has said of itself."""

    def work(self, bodies: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        """Have sites work, each on its own body; what comes back of each that is not lost, in any order."""


class Simulated:
    """Sites of this process, one after the other; each drawn one is lost with a chance."""

    def __init__(self, sites: Sequence[Site], *, drop: float = 0.0, seed: int = 0) -> None:
        self.sites, self._drop, self._random = {site.name: site for site in sites}, drop, np.random.default_rng(seed)

    def introductions(self) -> Mapping[str, bytes]:
        """Of all."""
        return {name: site.introduce() for name, site in self.sites.items()}

    def work(self, bodies: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        """One after the other; a site is lost while it learns."""
        for name, body in bodies.items():
            learning = turn_of(body) % len(Phase) == Phase.LEARN
            if not (learning and self._random.random() < self._drop):
                yield name, self.sites[name].work(body)


def drawn_of(names: Sequence[str], share: float, seed: int, round: int) -> list[str]:
    """C of the sites that are there, one at least; chance is by seed and round."""
    count = max(round_half_up(share * len(names)), 1)
    order = np.random.default_rng((seed, round)).permutation(len(names))
    return sorted(sorted(names)[index] for index in order[:count])


def round_half_up(value: float) -> int:
    """As people round."""
    return int(value + 0.5)


class Federation:
    """The exchange of the server, which has no training events: an epoch of its trainer is a round."""

    part: Part | None = None

    def __init__(self, sites: Sites, settings: Federated, seed: int, *, noise: Noise | None = None) -> None:
        self.sites, self.settings, self.seed, self.traffic = sites, settings, seed, Traffic()
        self._noise = noise or Noise(settings)
        self._told: dict[str, Any] = {}
        self._started = False

    def begin(self, trainer: Trainer) -> None:
        """Nothing is sent yet."""
        self._trainer = trainer
        shared = shared_of(trainer, self.settings.what)
        self._vector, self._moments, self._changing = shared.all, shared.moments, shared.changing
        self._drifts = torch.zeros(shared.learning.count if self.settings.method == "scaffold" else 0)
        self._mover = Mover(trainer, shared.all, shared.learning, self.settings)
        self._started = bool(trainer.metrics)

    def gradients(self) -> None:
        """It makes none."""

    def stepped(self) -> bool:
        """It makes no step."""
        return True

    def learn(self, epoch: int, watcher: Watcher) -> tuple[float, int]:
        """A round; raise `WorkerLost` when no site that was drawn sends anything."""
        there = self.sites.introductions()
        if not self._started:
            self._pool(there)
        private = bool(self.settings.clip)
        by_count = drawn_of(list(there), self.settings.share, self.seed, epoch)
        drawn = self._noise.drawn(list(there)) if private else by_count
        sparse = self._trainer.sparse is not None and not self.settings.secret  # a mask leaves no zeros
        sent = Parcel(epoch, torch.cat([self._vector.read(), self._drifts]), sparse=sparse)
        gathered = Gathered([], sent.vector, 0.0, 0.0)
        # Where chance has drawn nobody, or nobody to hide beside, the round is of noise alone.
        if not private or len(drawn) > self.settings.secret:
            gathered = self._gathered(drawn, sent, watcher)
        names, mean, amount, loss = gathered
        if private:
            size = self._changing
            moved = self._noise.moved(sent.vector[:size], mean[:size], len(names), len(there))
            mean = torch.cat([moved, sent.vector[size:]])
        self._mover.move(mean[: self._vector.count])
        self._drifts = mean[self._vector.count :]
        self._trainer.stepped()
        events = {name: 1 if private else Parcel.unpacked(there[name], self._moments.count).events for name in names}
        whole = sum(events.values())
        self._told = {
            "drawn": drawn,
            "lost": [name for name in drawn if name not in names],
            "weights": {name: count / whole for name, count in events.items()},
        }
        if private:
            self._told |= told_of(self.settings, epoch + 1)
        return loss * len(self._trainer.batches), int(amount) * self.settings.epochs

    def _gathered(self, drawn: list[str], sent: Parcel, watcher: Watcher) -> Gathered:
        """What the sites that were drawn have come to, in the open or not."""

        def turn(bodies: Mapping[str, bytes]) -> dict[str, bytes]:
            came: dict[str, bytes] = {}
            for name, body in self.sites.work(bodies):
                came[name] = body
                watcher.step(sent.round, len(came), len(bodies))
                self.traffic.exchange(received=len(body))
            self.traffic.exchange(sent=sum(map(len, bodies.values())), messages=len(bodies))
            return came

        if self.settings.secret:
            return summed(sent.round, sent, drawn, turn)
        body = sent.packed()
        came = dict[str, Parcel]()
        for name, each in turn(dict.fromkeys(drawn, body)).items():
            with suppress(BadInput):  # what sends that is as good as lost, and may not end the training of the others
                came[name] = Parcel.unpacked(each, len(sent.vector))
        if not came:
            raise WorkerLost(f"none of the {len(drawn)} sites that were drawn for round {sent.round} sent anything")
        names = sorted(came)
        amounts = [float(came[name].events) for name in names]
        loss = sum(came[name].loss * amount for name, amount in zip(names, amounts, strict=True)) / sum(amounts)
        return Gathered(names, mean([came[name].vector for name in names], amounts), sum(amounts), loss)

    def judged(self, judge: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Judge by the events that the server has."""
        return {**judge(), **self._told, "exchanged": self.traffic.document()}

    def chosen(self, best: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those that all have learnt."""
        return best

    def document(self) -> dict[str, Any]:
        """For the manifest."""
        told = {"mode": self.settings.method, "workers": len(self.sites.introductions()), "what": self.settings.what}
        if self.settings.clip:
            told |= told_of(self.settings, len(self._trainer.metrics))
        return {**told, "secret": self.settings.secret, "exchanged": self.traffic.document()}

    def _pool(self, there: Mapping[str, bytes]) -> None:
        """Normalise the inputs by what all sites have seen."""
        self._started = True
        self.traffic.control += sum(map(len, there.values()))
        if self.settings.clip:  # sites tell none: the server's own have to do
            return
        moments = [Parcel.unpacked(body, self._moments.count) for body in there.values()]
        vectors, events = [each.vector for each in moments], [each.events for each in moments]
        self._moments.write(pooled(vectors, events, self._moments.sizes))
