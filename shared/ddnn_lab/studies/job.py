"""One run of a study: what is trained on what, under a fingerprint that finds it again."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Final

import numpy as np

from ddnn.data import Dataset, load
from ddnn.training import Config

__all__ = ["RECIPE", "Job", "Source", "united"]

RECIPE: Final = 1
"""Grows when a run's outcome changes though nothing in its config did."""


@dataclass(frozen=True)
class Source:
    """The data of a run, and how they are divided."""

    name: str
    grid: str | None
    group_by: str | None
    test_groups: tuple[str, ...]
    seed: int
    events: int | None
    """At most so many of them."""

    def load(self) -> Dataset:
        """Load and split; the last one is kept, as several runs in a row want the same."""
        return _load(self)


@lru_cache(maxsize=1)
def _load(source: Source) -> Dataset:
    data = load(
        source.name,
        grid=source.grid,
        group_by=source.group_by,
        test_groups=source.test_groups or None,
        seed=source.seed,
    )
    if source.events is None or len(data) <= source.events:
        return data
    # Every n-th of each split in the order of a fixed draw, so that classes keep their shares.
    order = np.random.default_rng(0).permutation(len(data))
    kept = order[: source.events]
    return data.take(np.sort(kept))


@dataclass(frozen=True)
class Job:
    """A network to be trained and measured; or, without a config, the classifiers that are no networks."""

    part: str
    """The part that wants it first."""
    label: str
    """What it is, in a few words."""
    source: Source
    seed: int
    fold: int
    data: str
    """Fingerprint of the data."""
    config: Config | None
    measures: tuple[str, ...]
    """What is to be measured of it."""
    drop: float = 0.005
    """How far below the cloud exit's the tuned accuracy may be, on validation."""
    qualities: tuple[int, ...] = ()
    """JPEG qualities of the measure `jpeg`."""
    seen: tuple[int, ...] = ()
    """Without a config: the devices whose views the classifiers see; none named: all."""

    @property
    def devices(self) -> tuple[int, ...]:
        """The devices of the data that it is about; none named: all."""
        return self.config.network.devices if self.config else self.seen

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what decides the outcome; neither where the data lie nor what is measured."""
        split = {key: value for key, value in vars(self.source).items() if key != "name"}
        document: dict[str, Any] = {
            "config": self.config.model_dump(mode="json") if self.config else None,
            "data": self.data,
            "split": split,
            "seed": self.seed,
            "drop": self.drop,
            "ddnn": version("ddnn"),
            "recipe": RECIPE,
            **({"seen": self.seen} if self.seen else {}),
        }
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    @property
    def place(self) -> tuple[int, int]:
        """Seed and fold: what runs are paired by."""
        return self.seed, self.fold

    @property
    def name(self) -> str:
        """For a person: `joint, seed 0`."""
        fold = f" fold {self.fold}" if self.source.test_groups else ""
        return f"{self.label}, seed {self.seed}{fold}"


def united(jobs: Iterable[Job]) -> list[Job]:
    """The jobs in order, those that are the same run made one that measures what each of them wants."""
    found: dict[str, Job] = {}
    for job in jobs:
        key = job.fingerprint
        if key in found:
            wanted = dict.fromkeys((*found[key].measures, *job.measures))
            qualities = found[key].qualities or job.qualities
            found[key] = replace(found[key], measures=tuple(wanted), qualities=qualities)
        else:
            found[key] = job
    return list(found.values())
