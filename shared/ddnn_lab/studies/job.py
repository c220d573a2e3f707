"""One run of a study: what is trained on what, under a fingerprint that finds its folder again."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from ddnn import __version__
from ddnn.data import Dataset, load
from ddnn.data.photographs import Photographs, parse_size
from ddnn.errors import BadConfig
from ddnn.seal import write_atomically
from ddnn.training import Config
from ddnn_lab.studies.measures import MEASURES

__all__ = ["RECIPE", "DataSplit", "Job", "Record", "Replicate", "RunFolder", "read_json", "united", "write_json"]

RECIPE: Final = 1  #: grows when a run's outcome changes though nothing in its config did

Replicate = tuple[int, int]  #: seed and fold: what runs are paired by


@dataclass(frozen=True)
class DataSplit:
    """The data of a run, and how they are divided."""

    name: str
    grid: str | None
    group_by: str | None
    test_groups: tuple[str, ...]
    seed: int
    events: int | None  #: at most so many of them
    size: str | None = None  #: of the views that photographs become

    def load(self) -> Dataset:
        """Load and split; the last one is kept, as several runs in a row want the same."""
        return _load(self)


@lru_cache(maxsize=1)
def _load(split: DataSplit) -> Dataset:
    groups, photographs = split.test_groups or None, Photographs(parse_size(split.size)) if split.size else None
    wanted: dict[str, Any] = {"grid": split.grid, "group_by": split.group_by, "test_groups": groups}
    data = load(split.name, **wanted, seed=split.seed, photographs=photographs)
    if photographs and data.picture is None:
        raise BadConfig(f"size is {split.size!r}, but {split.name} is no folder or table of photographs")
    if split.events is None or len(data) <= split.events:
        return data
    # The first events of a fixed draw, so that splits and classes keep their shares.
    return data.take(np.sort(np.random.default_rng(0).permutation(len(data))[: split.events]))


@dataclass(frozen=True)
class Job:
    """A network to be trained and measured; or, without a config, the classifiers that are no networks."""

    part: str  #: the part that wants it first
    label: str  #: what it is, in a few words
    split: DataSplit
    seed: int
    fold: int
    data: str  #: fingerprint of the data
    config: Config | None
    measures: tuple[str, ...]  #: what is to be measured of it
    drop: float = 0.005  #: how far below the best exit's the tuned accuracy may be, on validation
    qualities: tuple[int, ...] = ()  #: JPEG qualities of the measure `jpeg`
    pictures: tuple[tuple[str, int, int], ...] = ()  #: kinds of the measure `pictures`: format, size, quality
    seen: tuple[int, ...] = ()  #: without a config: the devices whose views the classifiers see; none named: all

    @property
    def devices(self) -> tuple[int, ...]:
        """The devices of the data that it is about; none named: all."""
        return self.config.network.devices if self.config else self.seen

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over what decides the outcome; neither where the data lie nor what is measured."""
        split = {key: value for key, value in vars(self.split).items() if key != "name"}
        if self.split.size is None:
            del split["size"]  # what runs that are kept were made without
        document: dict[str, Any] = {
            "config": self.config.model_dump(mode="json") if self.config else None,
            "data": self.data,
            "split": split,
            "seed": self.seed,
            "drop": self.drop,
            "ddnn": __version__,
            "recipe": RECIPE,
            **({"seen": self.seen} if self.seen else {}),
        }
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    @property
    def replicate(self) -> Replicate:
        """Seed and fold."""
        return self.seed, self.fold

    @property
    def name(self) -> str:
        """For a person: `joint, seed 0`."""
        fold = f" fold {self.fold}" if self.split.test_groups else ""
        return f"{self.label}, seed {self.seed}{fold}"


def united(jobs: Iterable[Job]) -> list[Job]:
    """The jobs in order, those that are the same run made one that measures what each of them wants."""
    runs: dict[str, Job] = {}
    for job in jobs:
        first = runs.setdefault(job.fingerprint, job)
        if first is not job:
            measures = tuple(dict.fromkeys((*first.measures, *job.measures)))
            qualities, pictures = first.qualities or job.qualities, first.pictures or job.pictures
            runs[job.fingerprint] = replace(first, measures=measures, qualities=qualities, pictures=pictures)
    return list(runs.values())


@dataclass(frozen=True)
class Record:
    """A finished run."""

    job: Job
    run: Mapping[str, Any]  #: how it was made: seconds, samples per second, epochs
    measures: Mapping[str, Any]  #: its measures by name
    folder: Path


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, with its bundle and what was measured of it."""

    path: Path

    @classmethod
    def of(cls, study: Path, job: Job) -> "RunFolder":
        """That of `job`, whether or not it is there, in the folder of any study that has this run."""
        return cls(study / "runs" / job.fingerprint[:16])

    @property
    def run(self) -> dict[str, Any] | None:
        """How the run was made, once it is."""
        return read_json(self.path / "run.json")

    def keep_run(self, document: Mapping[str, Any]) -> None:
        """Write how the run was made; from now on it is."""
        write_json(self.path / "run.json", document)

    def keep(self, measure: str, result: Any) -> None:
        """Write the result of a measure, with the version of how it was measured."""
        write_json(self.path / f"{measure}.json", {"version": MEASURES[measure].version, "found": result})

    def measures(self, job: Job) -> dict[str, Any]:
        """The results of the measures that `job` wants, those of an older version left out."""
        kept = {name: read_json(self.path / f"{name}.json") or {} for name in job.measures}
        return {name: file["found"] for name, file in kept.items() if file.get("version") == MEASURES[name].version}

    def record(self, job: Job) -> Record | None:
        """The run, if it is made and everything that `job` wants is measured."""
        run, measures = self.run, self.measures(job)
        return None if run is None or len(measures) < len(job.measures) else Record(job, run, measures, self.path)


def write_json(path: Path, document: Any) -> None:
    """Write `document`, never half of it."""
    write_atomically(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON file, or None where there is none that can be read: it is then made again."""
    try:
        document: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8"))
        return document
    except (OSError, ValueError):
        return None
