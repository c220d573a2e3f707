"""The search: one recipe after the other, by what its exits get right on folds, within a budget of time.

Legend: N events that are not tested, K classes.
"""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from ddnn.configs import merged
from ddnn.data import Dataset
from ddnn.data.folds import folded
from ddnn.evaluation import Scores
from ddnn.network import DDNN
from ddnn.recipe.memory import Memory, key_of
from ddnn.recipe.panel import Panel, clusters, probabilities_by
from ddnn.recipe.starts import Change, Looks, changes, judging, passing, savings, start
from ddnn.training import Config, Run, Trainer, initial_network
from ddnn.training.fitting import fit_beside
from ddnn.training.loader import batch_of
from ddnn.types import Array, Floats, Tier

__all__ = ["TRIALS_FILE", "Recipe", "Trial", "find", "scores_of"]

FOLDS: Final = 3
FOR_STAGES: Final = 0.75  #: of the time; the rest is for what judges beside the network
PASSED: Final = 3  #: trials that views sent themselves, and what judges them, may take the time of
MOST: Final = 6000
"""Events that a trial learns from and is judged by, at most."""
RARE: Final = 0.1
"""Events of the rarest class for each of the most frequent one, below which classes are judged alike."""
TRIALS_FILE: Final = "trials.jsonl"
EXITS: Final = ("local", "edge", "cloud")

Progress = Callable[[str, int, int], object]


@dataclass(frozen=True)
class Trial:
    """One recipe on the folds."""

    name: str
    config: Config
    score: float
    """Mean over the exits of what they get right, 0..1; with rare classes, half of it is by class."""
    exits: dict[str, float]
    """What each gets right."""
    seconds: float
    kept: bool = False

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "tried": self.name,
            "score": round(self.score, 4),
            **{exit: round(right, 4) for exit, right in self.exits.items()},
            "seconds": round(self.seconds, 1),
            "kept": self.kept,
        }


@dataclass(frozen=True)
class Recipe:
    """What was found."""

    config: Config
    looks: Looks
    trials: tuple[Trial, ...]
    left: tuple[str, ...] = ()
    """What there was no time to try."""
    scores: Scores | None = None
    """What the exits say of each event if its fold is not learnt from: what thresholds are tuned on."""

    def document(self) -> dict[str, Any]:
        """As the manifest and JSON have it; the config itself stands beside it."""
        trials = [trial.document() for trial in self.trials]
        return {"looks": asdict(self.looks), "trials": trials, "left": list(self.left)}

    def sentence(self) -> str:
        """What was found, for a person."""
        kept = [trial.name for trial in self.trials[1:] if trial.kept]
        what = f"the simplest for {self.looks.kind}"
        return f"recipe: {what}{''.join(f'; {name}' for name in kept)}, by {len(self.trials)} trials"


def find(
    data: Dataset, *, seed: int = 0, minutes: float = 10.0, run: Run | None = None, progress: Progress | None = None
) -> Recipe:
    """Find a recipe for `data` on its training and validation events; the test events are not touched.

    Args:
        data: Events with their split.
        seed: Where chance plays.
        minutes: Time to search in; 0: the simplest recipe for such data, untried.
        run: Folder that trials are kept in, so that the same search goes on where it was stopped.
        progress: Is called with what is tried, how much of the budget is used, and the budget, in seconds.

    Example:
        >>> from ddnn.data import load
        >>> from ddnn.recipe import find
        >>> find(load("synthetic"), minutes=0.0).config.training.epochs > 0
        True
    """
    looks = Looks.of(data)
    first = start(looks)
    stages = changes(looks, first)
    if not stages or minutes <= 0:
        return Recipe(first, looks, ())
    with run.alone() if run else nullcontext():
        memory = run.path / TRIALS_FILE if run else None
        search = _Search(folded(data, FOLDS, most=MOST, seed=seed), looks, seed, 60 * minutes, memory, progress)
        search.keep(search.trial("the simplest recipe", first))
        later = passing(looks, first)
        left = [name for stage in stages for name in search.stage(stage, FOR_STAGES, spare=PASSED * len(later))]
        left += search.passed(later)
        if first.network.device.pass_on:
            search.beside(search.kept)
        search.judged(judging(looks))
        left += search.stage(savings(search.kept.config), 1.0)
        return Recipe(search.kept.config, looks, tuple(search.trials), tuple(left), search.scores())


class _Search:
    """Tries recipes on the folds; what was tried under the same folds before is remembered in a file."""

    def __init__(
        self,
        folds: Sequence[Dataset],
        looks: Looks,
        seed: int,
        budget: float,
        memory: Path | None,
        progress: Progress | None,
    ) -> None:
        self.folds, self.looks, self.seed, self.budget = folds, looks, seed, budget
        self.trials: list[Trial] = []
        self.kept: Trial
        held = [fold.subset("validation") for fold in folds]
        self.y = np.concatenate([part.y for part in held])
        """(N,) classes of the events, fold by fold."""
        self._fold = np.repeat(np.arange(len(held)), [len(part) for part in held])
        self._cluster = clusters(held)
        self._networks: dict[str, list[DDNN]] = {}  # those of the trials of this stage and of the kept one, by folds
        self._progress, self._memory = progress, Memory(memory)

    @property
    def spent(self) -> float:
        """Seconds of all trials, those of an earlier search with them."""
        return sum(trial.seconds for trial in self.trials)

    def keep(self, trial: Trial) -> None:
        """Go on from this trial."""
        self.kept = trial
        self.trials = [replace(each, kept=True) if each.name == trial.name else each for each in self.trials]
        self._networks = {key: value for key, value in self._networks.items() if key == self._key(trial.config)}

    def stage(self, changes: Sequence[Change], part: float, *, spare: int = 0) -> list[str]:
        """Try changes of what is kept, and keep the best worth its gain; return what there was no time for.

        They get a part of the budget, and leave time to `spare` trials.
        """
        best, better, left = self.kept, self.kept.score, list[str]()
        chance = float(np.sqrt(better * (1 - better) / len(self.y)))
        for change in changes:
            if self.spent + self.kept.seconds > min(part * self.budget, self.budget - spare * self.kept.seconds):
                left.append(change.name)
                continue
            trial = self.trial(change.name, _changed(self.kept.config, change))
            cost = change.gain + chance * (change.gain > 0)  # what spares nothing must be worth more than chance
            if trial.score - cost > better:
                better, best = trial.score - cost, trial
        self.keep(best)
        return left

    def trial(self, name: str, config: Config) -> Trial:
        """Train `config` on each fold and judge its exits on the rest."""
        since, key = time.monotonic(), self._key(config)
        known = self._memory.get(key)
        if known is None:
            self._networks[key] = self._trained(name, config)
            exits = [_labels_of(network, fold) for network, fold in zip(self._networks[key], self.folds, strict=True)]
            score, right = self._judged([np.concatenate(parts) for parts in zip(*exits, strict=True)])
            known = {"key": key, "score": score, "exits": right, "seconds": time.monotonic() - since}
            self._memory.keep(known)
        return self._added(Trial(name, config, known["score"], known["exits"], known["seconds"]))

    def passed(self, changes: Sequence[Change]) -> list[str]:
        """Try views that are sent themselves, with what may then judge beside the network; return what was left."""
        for change in changes:
            if self.spent + (PASSED - 1) * self.kept.seconds > self.budget:
                return [change.name]
            self.beside(self.trial(change.name, _changed(self.kept.config, change)), change.gain)
        return []

    def beside(self, base: Trial, gain: float = 0.0) -> None:
        """Try classifiers beside the network of a trial, at edge and cloud, and keep them unless they are worse.

        Where folds do not tell, several kinds of judges err less alike on days that no fold has seen than one.
        """
        name, best, since = "classifiers beside the network", base, time.monotonic()
        key, config = self._key(base.config), base.config
        networks = self._networks[key] = self._networks.get(key) or self._trained(name, config)
        local, whole = self._opinions(networks, name, since, config)
        panel = Panel.of(whole, self.y, self._fold, self._cluster)
        score, right = self._judged([local, *panel.labels(whole)])
        if score >= base.score:
            said = f"{name}: {panel.says()}"
            mixed = _changed(config, Change(said, panel.document()))
            best = Trial(said, mixed, score, right, time.monotonic() - since)
        if best.score - gain > self.kept.score:
            pairs = zip(networks, self.folds, strict=True)
            self._networks[self._key(best.config)] = [self._completed(best.config, *pair) for pair in pairs]
            if best is not base:
                self._added(best)
            self.keep(best)

    def judged(self, changes: Sequence[Change]) -> None:
        """Try devices that others judge beside their network, which stays as it is, and keep the best.

        No network is trained anew for them. What makes devices larger must be worth its gain at the local exit, which
        alone sees it.
        """
        best, networks = self.kept, self._networks.get(self._key(self.kept.config))
        for change in changes:
            since, config = time.monotonic(), _changed(self.kept.config, change)
            networks = networks or self._trained(change.name, self.kept.config)
            self._show(change.name, since)
            pairs = zip(networks, self.folds, strict=True)
            completed = [self._completed(config, *pair, tiers=[Tier.DEVICE]) for pair in pairs]
            self._networks[self._key(config)] = completed
            exits = [_labels_of(network, fold) for network, fold in zip(completed, self.folds, strict=True)]
            score, right = self._judged([np.concatenate(parts) for parts in zip(*exits, strict=True)])
            trial = self._added(Trial(change.name, config, score, right, time.monotonic() - since))
            if trial.score - change.gain / len(EXITS) > best.score:
                best = trial
        self.keep(best)

    def _opinions(
        self, networks: Sequence[DDNN], name: str, since: float, config: Config
    ) -> tuple[Array, list[dict[str, Array]]]:
        """Labels (N,) of the local exit; probabilities (N, K) of the exits above by what judges."""
        parts: list[list[dict[str, Array]]] = []
        for network, fold in zip(networks, self.folds, strict=True):
            self._show(name, since)
            parts.append(probabilities_by(network, fold, config, self.seed))
        local = [_labels_of(network, fold)[0] for network, fold in zip(networks, self.folds, strict=True)]
        whole = [
            {judge: np.concatenate([of[judge] for of in exit]) for judge in exit[0]}
            for exit in zip(*parts, strict=True)
        ]
        return np.concatenate(local), whole

    def scores(self) -> Scores:
        """What the exits of the kept recipe say of each event, from the network that did not learn from its fold."""
        name, config = "the recipe on the folds, for its thresholds", self.kept.config
        networks = self._networks.get(self._key(config)) or self._trained(name, config)
        parts = [scores_of(network, fold) for network, fold in zip(networks, self.folds, strict=True)]
        arrays = [part.arrays() for part in parts]
        joined: dict[str, Any] = {name: np.concatenate([each[name] for each in arrays]) for name in arrays[0]}
        return replace(parts[0], **joined)

    def _completed(
        self, config: Config, trained: DDNN, fold: Dataset, *, tiers: Collection[Tier] = tuple(Tier)
    ) -> DDNN:
        """A trained network with what `config` has beside it, fitted at `tiers`."""
        network = initial_network(config, fold, self.seed)
        network.load_state_dict(trained.state_dict(), strict=False)
        fit_beside(network.eval(), fold, config.training, self.seed, tiers)
        return network

    def _added(self, trial: Trial) -> Trial:
        self.trials.append(trial)
        return trial

    def _key(self, config: Config) -> str:
        return key_of(config, self.seed, self.folds[0])

    def _show(self, name: str, since: float) -> None:
        if self._progress:
            done = min(self.spent + time.monotonic() - since, self.budget)
            self._progress(f"trying {name}", int(done), int(self.budget) + 1)

    def _trained(self, name: str, config: Config) -> list[DDNN]:
        """A network for each fold."""
        since, networks = time.monotonic(), []
        for fold in self.folds:
            trainer = Trainer(config, fold, seed=self.seed)
            while not trainer.over:
                trainer.epoch()
                self._show(name, since)
            networks.append(trainer.best())
        return networks

    def _judged(self, exits: Sequence[Array]) -> tuple[float, dict[str, float]]:
        """The score of labels (N,) of each exit, and what each gets right."""
        y = self.y
        right = {name: float((labels == y).mean()) for name, labels in zip(EXITS, exits, strict=True)}
        score = sum(right.values()) / len(right)
        if self.looks.rarest < RARE:
            score = (score + sum(_balanced(labels, y) for labels in exits) / len(exits)) / 2
        return score, right


@torch.no_grad()
def scores_of(network: DDNN, fold: Dataset) -> Scores:
    """What all exits say of validation events."""
    held = fold.subset("validation")
    batch = batch_of(held)
    scored = network(batch.views, batch.present)
    device, local, edge = (
        None if scores is None else scores.numpy() for scores in (scored.device, scored.local, scored.edge)
    )
    source = {"data": fold.name, "fingerprint": fold.fingerprint, "split": "folds"}
    seen = held.present, held.y, held.y_dev
    return Scores(device, local, edge, scored.cloud.numpy(), *seen, network.topology, source)


def _changed(config: Config, change: Change) -> Config:
    return Config.of(merged(config.model_dump(mode="json"), change.document))


@torch.no_grad()
def _labels_of(network: DDNN, fold: Dataset) -> list[Array]:
    """Labels (N,) of the local, edge and cloud exit on the events of a fold's validation."""
    batch = batch_of(fold.subset("validation"))
    scored = network(batch.views, batch.present)
    exits = (scored.local, scored.edge, scored.cloud[:, None])
    return [exit.mean(dim=1).argmax(dim=1).numpy() for exit in exits if exit is not None]


def _balanced(labels: Array, y: Array) -> float:
    rates: Floats = np.array([(labels[y == label] == label).mean() for label in np.unique(y)])
    return float(rates.mean())
