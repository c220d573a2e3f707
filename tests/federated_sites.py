"""A federated training of two sites, and what travels in it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ddnn.data import Dataset
from ddnn.training import Config, Run, Trainer
from ddnn.training.federated import Federated, Federation, Simulated, Site, parts_of
from ddnn.training.federated.dp import Noise
from ddnn.training.federated.served import server_data
from joined_workers import events

__all__ = ["Heard", "federated", "learnt_by", "with_tests"]


class Heard(Simulated):
    """A simulation that keeps what travels."""

    bodies: list[bytes]

    def introductions(self) -> Mapping[str, bytes]:
        made = super().introductions()
        self.bodies = [*getattr(self, "bodies", []), *made.values()]
        return made

    def work(self, bodies: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        for name, made in super().work(bodies):
            self.bodies += [bodies[name], made]
            yield name, made


def federated(
    settings: Federated,
    wanted: Config,
    *,
    by: str = "iid",
    drop: float = 0.0,
    run: Run | None = None,
    data: Dataset | None = None,
    count: int = 2,
    noise: Noise | None = None,
) -> tuple[Trainer, Heard, Federation]:
    """A server with `count` sites, its rounds made."""
    data = data or with_tests()
    own = {f"site-{at}": data.take(rows) for at, rows in enumerate(parts_of(data, count, by, 3))}
    sites = [Site(name, wanted, each, settings, at) for at, (name, each) in enumerate(own.items())]
    return learnt_by(Heard(sites, drop=drop, seed=1), settings, wanted, data, run, noise)


def learnt_by(
    heard: Heard, settings: Federated, wanted: Config, data: Dataset, run: Run | None = None, noise: Noise | None = None
) -> tuple[Trainer, Heard, Federation]:
    """All rounds of these sites."""
    federation = Federation(heard, settings, 3, noise=noise)
    own = wanted.changed(epochs=settings.rounds, average=0.0)
    trainer = Trainer(own, server_data(data), seed=5, exchange=federation, run=run, resume=bool(run and run.unfinished))
    while not trainer.over:
        trainer.epoch()
    return trainer, heard, federation


def with_tests() -> Dataset:
    data = events()
    split = data.split.astype("<U10")
    split[-20:] = "test"
    return replace(data, split=split)
