"""The server of a federated training: it draws sites, sends them weights, and takes the mean of what comes back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from ddnn.errors import WorkerLost
from ddnn.training.distributed.arithmetic import mean
from ddnn.training.distributed.traffic import Traffic
from ddnn.training.exchange import Watcher
from ddnn.training.federated.settings import Federated
from ddnn.training.federated.site import Site, pooled, shared_of
from ddnn.training.federated.wire import Parcel
from ddnn.training.loader import Part
from ddnn.training.trainer import Trainer

__all__ = ["Federation", "Simulated", "Sites", "drawn_of"]


class Sites(Protocol):
    """What carries parcels: a simulation, or a network."""

    def introductions(self) -> Mapping[str, bytes]:
        """What each site that is there has said of itself."""

    def work(self, names: Sequence[str], body: bytes) -> Iterator[tuple[str, bytes]]:
        """Have sites work; what comes back of each that is not lost, in any order."""


class Simulated:
    """Sites of this process, one after the other; each drawn one is lost with a chance."""

    def __init__(self, sites: Sequence[Site], *, drop: float = 0.0, seed: int = 0) -> None:
        self.sites, self._drop, self._random = {site.name: site for site in sites}, drop, np.random.default_rng(seed)

    def introductions(self) -> Mapping[str, bytes]:
        """Of all."""
        return {name: site.introduce() for name, site in self.sites.items()}

    def work(self, names: Sequence[str], body: bytes) -> Iterator[tuple[str, bytes]]:
        """One after the other."""
        lost = self._random.random(len(names)) < self._drop
        for name, gone in zip(names, lost, strict=True):
            if not gone:
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

    def __init__(self, sites: Sites, settings: Federated, seed: int) -> None:
        self.sites, self.settings, self.seed, self.traffic = sites, settings, seed, Traffic()
        self._told: dict[str, Any] = {}
        self._started = False

    def begin(self, trainer: Trainer) -> None:
        """Nothing is sent yet."""
        self._trainer = trainer
        self._vector, _, self._moments = shared_of(trainer)
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
        drawn = drawn_of(list(there), self.settings.share, self.seed, epoch)
        sent = Parcel(epoch, self._vector.read()).packed()
        came: dict[str, Parcel] = {}
        for name, body in self.sites.work(drawn, sent):
            came[name] = Parcel.unpacked(body, self._vector.count)
            watcher.step(epoch, len(came), len(drawn))
            self.traffic.exchange(received=len(body))
        self.traffic.exchange(sent=len(sent) * len(drawn), messages=len(drawn))
        if not came:
            raise WorkerLost(f"none of the {len(drawn)} sites that were drawn for round {epoch} sent anything")
        names = sorted(came)
        amounts = [float(came[name].events) for name in names]
        self._vector.write(mean([came[name].vector for name in names], amounts))
        self._trainer.stepped()
        whole = sum(amounts)
        self._told = {
            "drawn": drawn,
            "lost": [name for name in drawn if name not in came],
            "weights": {name: amount / whole for name, amount in zip(names, amounts, strict=True)},
        }
        loss = sum(came[name].loss * amount for name, amount in zip(names, amounts, strict=True)) / whole
        return loss * len(self._trainer.batches), int(whole) * self.settings.epochs

    def judged(self, judge: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Judge by the events that the server has."""
        return {**judge(), **self._told, "exchanged": self.traffic.document()}

    def chosen(self, best: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those that all have learnt."""
        return best

    def document(self) -> dict[str, Any]:
        """For the manifest."""
        told = {"mode": self.settings.method, "workers": len(self.sites.introductions())}
        return {**told, "exchanged": self.traffic.document()}

    def _pool(self, there: Mapping[str, bytes]) -> None:
        """Normalise the inputs by what all sites have seen."""
        moments = [Parcel.unpacked(body, self._moments.count) for body in there.values()]
        vectors, events = [each.vector for each in moments], [each.events for each in moments]
        self._moments.write(pooled(vectors, events, self._moments.sizes))
        self._started = True
        self.traffic.control += sum(map(len, there.values()))
