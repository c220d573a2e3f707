"""From a study to its runs: every variant of every part, for every seed and fold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ddnn.data import SPLIT_NAMES, Dataset
from ddnn.data.summary import describe, doubts
from ddnn.network import DDNN, Plan
from ddnn.topology import Topology, View
from ddnn.types import Exit
from ddnn_lab.studies.job import DataSplit, Job, Record, Replicate, RunFolder
from ddnn_lab.studies.study import Changes, PartName, Study

__all__ = ["Planner", "Variant"]


@dataclass(frozen=True)
class Variant:
    """One thing that a part trains, over all seeds and folds."""

    label: str
    network: Mapping[str, Any] = field(default_factory=dict)  #: what it has otherwise than the part
    training: Mapping[str, Any] = field(default_factory=dict)
    measures: tuple[str, ...] = ("exits", "one_lost")
    trained: bool = True  #: false: the classifiers that are no networks
    before: tuple[Changes, ...] = ()  #: changes under the part's own


@dataclass(frozen=True)
class Planner:
    """Makes the runs of a study, and finds those that are done."""

    study: Study
    folder: Path

    @cached_property
    def data(self) -> Dataset:
        """The data under the first seed and fold."""
        return self._split(self.study.seeds[0], 0).load()

    @cached_property
    def network(self) -> Plan:
        """The study's own network with its shapes; raise `BadConfig` where it does not fit the data."""
        config = self.study.recipe(self.study.settings("joint")).network
        data = self.data.of_devices(config.devices)
        return Plan.of(config, [View.of(view, data.picture) for view in data.views], len(data.classes))

    @cached_property
    def topology(self) -> Topology:
        """What that network would serve, and send up; raise `BadConfig` where its features do not fit."""
        return DDNN(self.network).topology

    @property
    def devices(self) -> int:
        """How many devices the study's own network has."""
        return len(self.network.views)

    @property
    def exits(self) -> tuple[Exit, ...]:
        """The fused exits of the study's own network."""
        return tuple(exit for exit in self.topology.exits if exit is not Exit.DEVICE)

    @cached_property
    def about(self) -> dict[str, Any]:
        """What a report says of the data."""
        study, data = self.study, self.data.of_devices(self.network.config.devices)
        return {
            "name": data.name,
            "fingerprint": self.data.fingerprint,
            "described": describe(data),
            "doubts": doubts(data),
            "classes": list(data.classes),
            "devices": data.devices,
            "split": {part: int((data.split == part).sum()) for part in SPLIT_NAMES},
            "group_by": study.group_by,
            "folds": [list(map(str, fold)) for fold in study.folds],
            "every_fold": study.every_fold,
            "exits": [exit.value for exit in (Exit.DEVICE, *self.exits)],
            "raw_bytes": [int(np.prod(view.shape[1:])) * view.dtype.itemsize for view in data.views],
        }

    def _split(self, seed: int, fold: int) -> DataSplit:
        study = self.study
        groups = tuple(map(str, study.folds[fold])) if study.folds else ()
        return DataSplit(study.data, study.grid, study.group_by, groups, seed, study.events, study.size)

    def _replicates(self, part: PartName) -> list[Replicate]:
        """Every (seed, fold) of a part."""
        study, count = self.study, max(len(self.study.folds), 1)
        seeds = study.settings(part).seeds or study.seeds
        if not study.every_fold:
            own = {seed: place for place, seed in enumerate(study.seeds)}
            return [(seed, own.get(seed, place) % count) for place, seed in enumerate(seeds)]
        if part == "baselines":
            seeds = seeds[:1]  # they have no chance of their own; what a seed changes is little of their split
        return [(seed, fold) for seed in seeds for fold in range(count)]

    def jobs(self, part: PartName, variant: Variant) -> list[Job]:
        """The runs of one variant."""
        study = self.study
        own = Changes(network=dict(variant.network), training=dict(variant.training))
        config = study.recipe(*variant.before, study.settings(part), own) if variant.trained else None
        return [
            Job(
                part=part,
                label=variant.label,
                split=self._split(seed, fold),
                seed=seed,
                fold=fold,
                data=self.data.fingerprint,
                config=config,
                measures=variant.measures,
                drop=study.tune.max_accuracy_drop,
                qualities=study.parts.uncut.qualities if "jpeg" in variant.measures else (),
                pictures=study.parts.pictures.kinds if "pictures" in variant.measures else (),
                seen=() if config else self.network.config.devices,
            )
            for seed, fold in self._replicates(part)
        ]

    def records(self, part: PartName, variant: Variant) -> list[Record]:
        """The finished runs of a variant."""
        return [record for job in self.jobs(part, variant) if (record := RunFolder.of(self.folder, job).record(job))]
