"""A search: networks of a space, bred for few errors and few bytes, each trained briefly; kept in a folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ddnn.data import Dataset
from ddnn.errors import BadConfig, BadInput
from ddnn.evaluation import Progress
from ddnn.recipe import Memory, key_of
from ddnn.search.evolution import Judged, evolve
from ddnn.search.front import dominates, front_of, knee_of
from ddnn.search.space import Genes, Space
from ddnn.search.trial import Per, Trial, untrained
from ddnn.search.workers import Crew
from ddnn.training import Config

__all__ = ["ARCHIVE_FILE", "Found", "Wishes", "look"]

ARCHIVE_FILE: Final = "archive.jsonl"


@dataclass(frozen=True)
class Wishes:
    """How long, and by what."""

    trials: int = 40
    population: int = 8
    epochs: int = 10  #: that each network is trained in
    per: Per = "event"
    most_memory: int | None = None  #: bytes of a device's weights


@dataclass(frozen=True)
class Found:
    """All trials of a search, in their order; the first is where it started."""

    trials: Sequence[Trial]
    per: Per
    configs: Mapping[int, Config]
    """Of each trial, by its number, as it is trained in full."""

    @property
    def front(self) -> list[Trial]:
        """What is worth having, from few bytes to many."""
        return front_of(self.trials, self.per)

    def better(self) -> list[Trial]:
        """Those of the front that are better than the start in error and bytes."""
        return [trial for trial in self.front if dominates(trial, self.trials[0], self.per)]

    def document(self) -> dict[str, Any]:
        """For `front.json`."""
        front = self.front
        told: dict[str, Any] = {"per": self.per, "trials": [trial.document(self.per) for trial in self.trials]}
        told |= {"front": [trial.number for trial in front], "better": [trial.number for trial in self.better()]}
        return told | {"knee": knee_of(front, self.per).number}


def look(
    space: Space,
    data: Dataset,
    crew: Crew,
    wishes: Wishes,
    *,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Found:
    """Look for networks of `space` that are worth having, on training and validation events alone.

    Args:
        space: What may be tried, and where it starts.
        data: Events with their split; the test events are not touched.
        crew: What trains.
        wishes: How long, and by what.
        seed: Where chance plays: in what is tried, and in each training.
        folder: Where each trial is kept, so that the same search goes on where it was stopped.
        progress: Is called with what is done, how much of it, and how much there is.

    Raises:
        BadInput: Nothing can be built, or nothing is small enough.
    """
    return _Search(space, data, crew, wishes, seed, folder, progress).found()


class _Search:
    def __init__(
        self,
        space: Space,
        data: Dataset,
        crew: Crew,
        wishes: Wishes,
        seed: int,
        folder: Path | None,
        progress: Progress | None,
    ) -> None:
        self.space, self.data, self.crew, self.wishes, self.seed = space, data, crew, wishes, seed
        self._memory, self._progress = Memory(folder / ARCHIVE_FILE if folder else None), progress
        self.trials, self.configs = list[Trial](), dict[int, Config]()

    def found(self) -> Found:
        """Try the start, then breed."""
        start = self.space.of_base()
        self._tried([self.space.base], [self.space.told(start) if start else {}])
        evolve(
            [len(gene.choices) for gene in self.space.genes],
            self._judged,
            trials=self.wishes.trials - 1 + (start is not None),
            population=self.wishes.population,
            seed=self.seed,
            first=[start] if start else (),
        )
        if not front_of(self.trials, self.wishes.per):
            why = next(trial.refused for trial in reversed(self.trials))
            raise BadInput(f"none of {len(self.trials)} networks can be had, the last as {why}")
        return Found(self.trials, self.wishes.per, self.configs)

    def _judged(self, networks: Sequence[Genes]) -> list[Judged]:
        """A generation; the start, which is tried already, is known by its genes."""
        start = self.space.of_base()
        new = [genes for genes in networks if genes != start]
        made = dict(zip(new, self._generation(new), strict=True))
        return [self._fitness(self.trials[0] if genes == start else made[genes]) for genes in networks]

    def _generation(self, networks: Sequence[Genes]) -> list[Trial]:
        configs, refused = list[Config](), dict[int, str]()
        for place, genes in enumerate(networks):
            try:
                configs.append(self.space.config(genes))
            except BadConfig as error:
                refused[place] = str(error)
                configs.append(self.space.base)
        return self._tried(configs, [self.space.told(genes) for genes in networks], refused)

    def _tried(
        self, configs: Sequence[Config], genes: Sequence[Mapping[str, Any]], refused: Mapping[int, str] | None = None
    ) -> list[Trial]:
        """Train what is not in the archive, and number all."""
        short = [config.changed(epochs=self.wishes.epochs) for config in configs]
        keys = [f"{key_of(config, self.seed, self.data)}-{self.wishes.most_memory}" for config in short]
        begun = len(self.trials)
        results: dict[int, Mapping[str, Any]] = {
            place: untrained(sentence) for place, sentence in (refused or {}).items()
        }
        for place, key in enumerate(keys):
            if place not in results and (known := self._memory.get(key)):
                results[place] = known
        left = [place for place in range(len(short)) if place not in results]
        self._show(begun + len(results))
        for at, result in self.crew.tried([short[place] for place in left]):
            results[left[at]] = {"key": keys[left[at]], **result}
            self._memory.keep({**results[left[at]], "genes": genes[left[at]]})
            self._show(begun + len(results))
        made = [_trial(begun + place, genes[place], results[place]) for place in range(len(short))]
        self.trials += made
        self.configs |= {trial.number: config for trial, config in zip(made, configs, strict=True)}
        return made

    def _fitness(self, trial: Trial) -> Judged:
        return Judged(trial.error, float(trial.bytes(self.wishes.per)), float(trial.refused is not None))

    def _show(self, done: int) -> None:
        if self._progress:
            self._progress("trying networks", min(done, self.wishes.trials), self.wishes.trials)


def _trial(number: int, genes: Mapping[str, Any], result: Mapping[str, Any]) -> Trial:
    keys = ("error", "event_bytes", "round_bytes", "memory", "exits", "seconds", "refused")
    return Trial(number, json.loads(json.dumps(genes)), **{key: result[key] for key in keys})
