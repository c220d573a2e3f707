"""The panel that may judge beside the network, at edge and cloud, and what say each of it has.

What counts is the hardest fold, which is most like a season that was not seen. A judge that it cannot tell from the
best has as much to say; the surer it is that a judge is worse, the less that has.
Legend: N events, K classes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from ddnn.data import Dataset
from ddnn.evaluation.temperature import fit_temperature
from ddnn.network import DDNN
from ddnn.network.beside import Linear
from ddnn.network.sections import Blocks
from ddnn.network.trees import Forest, Trees
from ddnn.task import probabilities
from ddnn.training import Config
from ddnn.training.fitting import taken
from ddnn.training.loader import batch_of
from ddnn.types import Array, Ints

__all__ = ["Panel", "clusters", "probabilities_by"]

NETWORK: Final = "network"
TREES: Final = "trees"
FOREST: Final = "forest"
ROUNDS: Final = 100  #: of the boosted trees beside the network
GROVE: Final = 64  #: trees of the forest
GROWN: Final = 50_000_000
"""Numbers times classes that trees are grown on, at most: a minute or so."""
LINEAR: Final = {"firm": 0.1, "free": 1.0}  #: inverse penalties of the logistic regression beside it
STRETCHES: Final = 30
"""Parts of the file whose mistakes are taken to be independent, where there are no groups."""
TINY: Final = 1e-9  #: no probability is less
LEAST: Final = 0.02
"""A judge with less to say, for each of the best, is not asked."""
LITTLE: Final = 0.1
"""What the network keeps of the say at least: it alone has learnt to lose devices."""


@dataclass(frozen=True)
class Panel:
    """Who judges: the network, a logistic regression, and boosted trees and a forest, which may not be there."""

    linear: str
    """Which of the regressions."""
    shares: Mapping[str, float]
    """By judge, of the probabilities; they sum to 1."""
    temperatures: Sequence[Mapping[str, float]]
    """By judge, of each exit above the local one."""

    @classmethod
    def of(cls, said: Sequence[Mapping[str, Array]], y: Ints, fold: Ints, cluster: Ints) -> "Panel":
        """From probabilities (N, K) of each judge at each exit, classes (N,), folds, and what goes wrong together (N,).

        The temperatures are those of all folds.
        """
        right = {judge: np.mean([by[judge].argmax(axis=1) == y for by in said], axis=0) for judge in said[0]}
        together = sum(right.values())
        hardest = fold == min(np.unique(fold), key=lambda one: float(together[fold == one].mean()))
        right = {judge: own[hardest] for judge, own in right.items()}
        linear = max(LINEAR, key=lambda each: float(right[each].mean()))
        judges = [judge for judge in (NETWORK, linear, TREES, FOREST) if judge in right]
        shares = _shares({judge: right[judge] for judge in judges}, cluster[hardest])
        heat = [{judge: fit_temperature(np.log(by[judge] + TINY), y) for judge in judges} for by in said]
        return cls(linear, shares, heat)

    def labels(self, said: Sequence[Mapping[str, Array]]) -> list[Array]:
        """What all together say at each exit, labels (N,)."""
        mixed = [
            sum(share * probabilities(np.log(by[judge] + TINY), at[judge]) for judge, share in self.shares.items())
            for by, at in zip(said, self.temperatures, strict=True)
        ]
        return [np.asarray(each).argmax(axis=1) for each in mixed]

    def says(self) -> str:
        """The shares, for a person."""
        others = "".join(f", {judge} {self.shares.get(judge, 0.0):.2g}" for judge in (TREES, FOREST))
        return f"linear {self.shares[self.linear]:.2g} ({self.linear}){others} of the say"

    def document(self) -> dict[str, Any]:
        """What a config says of them."""
        table: dict[str, float] = {}
        for key, judge, size in (
            ("linear", self.linear, LINEAR[self.linear]),
            (TREES, TREES, ROUNDS),
            (FOREST, FOREST, GROVE),
        ):
            share = self.shares.get(judge, 0.0)
            table |= {key: size * (share > 0), f"{key}_share": share}
        order = NETWORK, self.linear, TREES, FOREST
        tables = [{**table, "temperatures": [at.get(judge, 1.0) for judge in order]} for at in self.temperatures]
        return {"network": {"edge": tables[0], "cloud": tables[-1]}}


def _shares(right: Mapping[str, Array], cluster: Ints) -> dict[str, float]:
    """What say each judge has, from which of the events (N,) it has right: exp(−(z / 2)²), z standard errors behind."""
    best = right[max(right, key=lambda judge: float(right[judge].mean()))]
    behind = {judge: (best - own).mean() / max(_error(best - own, cluster), TINY) for judge, own in right.items()}
    weights = {judge: math.exp(-((errors / 2) ** 2)) for judge, errors in behind.items()}
    weights = {judge: weight * (judge == NETWORK or weight > LEAST) for judge, weight in weights.items()}
    others = sum(weights.values()) - weights[NETWORK]
    network = max(weights[NETWORK] / (weights[NETWORK] + others), LITTLE)
    return {judge: round(weight / max(others, TINY) * (1 - network), 4) for judge, weight in weights.items()} | {
        NETWORK: network
    }


def _error(values: Array, cluster: Ints) -> float:
    """Standard error of the mean of values (N,), of which those of one cluster are alike."""
    sums = np.bincount(np.unique(cluster, return_inverse=True)[1].reshape(-1), values) / len(values)
    return float(np.sqrt(((sums - sums.mean()) ** 2).sum() * len(sums) / max(len(sums) - 1, 1)))


def clusters(held: Sequence[Dataset]) -> Ints:
    """(N,) which events go wrong together: those of a group, or of a stretch of the file."""
    groups = [part.groups for part in held if part.groups is not None]
    if len(groups) == len(held):
        return np.asarray(np.unique(np.concatenate(groups), return_inverse=True)[1].reshape(-1))
    place = np.concatenate([part.index for part in held]).argsort().argsort()
    return np.asarray(place * STRETCHES // len(place))


def probabilities_by(network: DDNN, fold: Dataset, config: Config, seed: int) -> list[dict[str, Array]]:
    """Probabilities (N, K) of edge and cloud on a fold's validation by what judges; of several edges their mean."""
    judges: dict[Blocks, dict[str, torch.nn.Module]] = {}
    classes = network.plan.classes
    for section, x, y, _ in taken(network, fold, config.training, seed, always=True):
        known: dict[str, torch.nn.Module] = {}
        if x.size * classes <= GROWN:
            for name, grown in ((TREES, Trees(ROUNDS, classes)), (FOREST, Forest(GROVE, classes))):
                grown.fit(x, y, seed=seed)
                known[name] = grown
        for name, strength in LINEAR.items():
            linear = known[name] = Linear(x.shape[1], classes)
            linear.fit(x, y, strength=strength)
        judges[section] = known
    batch, seen = batch_of(fold.subset("validation")), dict[torch.nn.Module, Tensor]()
    hooks = [
        section.taken.register_forward_hook(lambda _, __, x, section=section: seen.update({section: x.flatten(1)}))
        for section in judges
    ]
    with torch.no_grad():
        scored = network(batch.views, batch.present)
        for hook in hooks:
            hook.remove()
        found: list[dict[str, Array]] = []
        for sections, scores in (([*network.edges], scored.edge), ([network.cloud], scored.cloud[:, None])):
            said = {NETWORK: [each.softmax(dim=1) for each in scores.unbind(dim=1)] if scores is not None else []}
            for section in (each for each in sections if isinstance(each, Blocks)):
                for name, judge in judges[section].items():
                    said.setdefault(name, []).append(judge(seen[section]).softmax(dim=1))
            if scores is not None:
                found.append({name: torch.stack(each).mean(dim=0).numpy() for name, each in said.items()})
    return found
