"""What the server does with what comes: updates at once or by the handful, points to a consensus. No transport here.

Legend: W weights (m,), of which the last are running statistics.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ddnn.training.config import WorkersConfig
from ddnn.training.distributed.arithmetic import Consensus, mean, scale, soft_update
from ddnn.training.distributed.compression import expanded

__all__ = ["Agreeing", "Pouring", "Rule", "Softly", "Weights"]


@dataclass
class Weights:
    """The weights of all, and how often they have changed."""

    read: Callable[[], Tensor]
    write: Callable[[Tensor], None]
    version: int = 0

    def change(self, vector: Tensor) -> None:
        """Give them new values."""
        self.write(vector)
        self.version += 1


class Rule(Protocol):
    """One mode, as the server has it; called by one thread at a time."""

    replies: bool  #: whether a push is answered with the weights, once it counts

    def push(self, worker: int, numbers: Tensor, version: int, active: Collection[int]) -> None:
        """What `worker` sends, made from weights of that `version`, while `active` ones are still to push."""

    def left(self, worker: int, active: Collection[int]) -> None:
        """A worker has ended its epoch, or for good."""

    def fetched(self, worker: int) -> None:
        """A worker has the weights as they are now."""

    def waits(self, worker: int) -> bool:
        """Whether what this worker has pushed does not count yet."""

    def figures(self) -> dict[str, object]:
        """What an epoch's line of metrics says of it; they begin anew."""


@dataclass
class Staleness:
    """How stale updates were, and which were refused for it."""

    seen: Counter[int] = field(default_factory=Counter)
    refused: int = 0

    def figures(self) -> dict[str, object]:
        """Mean and largest of the applied ones, their counts by staleness, and the refused."""
        count = sum(self.seen.values())
        total = sum(staleness * times for staleness, times in self.seen.items())
        by = {str(staleness): times for staleness, times in sorted(self.seen.items())}
        figures = {"updates": count, "mean": total / count if count else 0.0, "most": max(self.seen, default=0)}
        told = {"staleness": {**figures, "refused": self.refused, "by": by}}
        self.seen, self.refused = Counter(), 0
        return dict(told)


class _Updates:
    """What takes updates: how stale each is, and what of it counts."""

    def __init__(self, weights: Weights, config: WorkersConfig) -> None:
        self.weights, self.config, self.staleness = weights, config, Staleness()
        self._own: Counter[int] = Counter()

    def fetched(self, worker: int) -> None:
        """What it has pushed itself is in what it has fetched, and makes it stale no more."""
        self._own[worker] = 0

    def figures(self) -> dict[str, object]:
        """Staleness."""
        return self.staleness.figures()

    def apply(self, updates: Collection[tuple[int, Tensor, int]]) -> None:
        """Apply updates (worker, numbers, version), but for those that are too stale."""
        taken, scales, most = list[Tensor](), list[float](), self.config.most_stale
        before = self.weights.read()
        for worker, numbers, version in sorted(updates, key=lambda update: update[0]):
            stale = self.weights.version - version - self._own[worker]
            if most and stale > most:
                self.staleness.refused += 1
                continue
            self.staleness.seen[stale] += 1
            taken.append(numbers if numbers.is_floating_point() else expanded(numbers, len(before), self.threshold))
            scales.append(scale(stale, scaled=self.config.stale == "scaled"))
            self._own[worker] += 1
        if taken:
            self.weights.change(soft_update(before, taken, scales))

    @property
    def threshold(self) -> float:
        """τ as single precision has it, which is what workers subtract."""
        return float(torch.tensor(self.config.compress, dtype=torch.float32))


class Pouring(_Updates):
    """Downpour: each update is applied when it comes; nobody waits."""

    replies = False

    def push(self, worker: int, numbers: Tensor, version: int, active: Collection[int]) -> None:
        """Apply it."""
        self.apply([(worker, numbers, version)])

    def left(self, worker: int, active: Collection[int]) -> None:
        """Nothing waits for it."""

    def waits(self, worker: int) -> bool:
        """Never."""
        return False


class Softly(_Updates):
    """Soft synchronisation: as soon as s updates are there, their mean is applied."""

    replies = True

    def __init__(self, weights: Weights, config: WorkersConfig) -> None:
        super().__init__(weights, config)
        self._there: dict[int, tuple[int, Tensor, int]] = {}

    def push(self, worker: int, numbers: Tensor, version: int, active: Collection[int]) -> None:
        """Keep it until enough are there."""
        self._there[worker] = (worker, numbers, version)
        self._go_on(active)

    def left(self, worker: int, active: Collection[int]) -> None:
        """Fewer can come: perhaps enough are there."""
        self._there.pop(worker, None)
        self._go_on(active)

    def waits(self, worker: int) -> bool:
        """Whether its update is not applied yet."""
        return worker in self._there

    def _go_on(self, active: Collection[int]) -> None:
        wanted = min(self.config.soft or len(active), len(active))
        if self._there and len(self._there) >= wanted:
            there, self._there = list(self._there.values()), {}
            self.apply(there)


class Agreeing:
    """Consensus ADMM: once the points of all are there, their mean is what all are pulled to.

    Args:
        weights: z, and behind it the mean of the running statistics.
        config: Its ρ.
        learning: How many of the weights are pulled, the others being statistics.
        resumed: Whether the duals are not known here, so that the first primal residual is not either.
    """

    replies = True

    def __init__(self, weights: Weights, config: WorkersConfig, learning: int, *, resumed: bool) -> None:
        self.weights, self._learning, self._there = weights, learning, dict[int, Tensor]()
        self.consensus = Consensus(weights.read()[:learning], config.rho)
        self._tolerance, self._resumed = config.tolerance, resumed

    def push(self, worker: int, numbers: Tensor, version: int, active: Collection[int]) -> None:
        """A worker's point x + u, and its statistics."""
        self._there[worker] = numbers
        self._go_on(active)

    def left(self, worker: int, active: Collection[int]) -> None:
        """One fewer is waited for."""
        self._there.pop(worker, None)
        self._go_on(active)

    def fetched(self, worker: int) -> None:
        """Nothing: each goes on from where it is."""

    def waits(self, worker: int) -> bool:
        """Whether others are still to come."""
        return worker in self._there

    def figures(self) -> dict[str, object]:
        """The residuals of the last iteration, and whether both are within the tolerance."""
        primal, dual = self.consensus.primal, self.consensus.dual
        agreed = bool(self._tolerance) and max(primal, dual) < self._tolerance
        return {"residuals": {"primal": primal, "dual": dual}, "agreed": agreed}

    def _go_on(self, active: Collection[int]) -> None:
        if not self._there or not set(active) <= self._there.keys():
            return
        there, self._there = self._there, {}
        z = self.consensus.iterate({worker: numbers[: self._learning] for worker, numbers in there.items()})
        if self._resumed:
            self.consensus.primal, self._resumed = float("inf"), False
        statistics = mean([there[worker][self._learning :] for worker in sorted(there)])
        self.weights.change(torch.cat([z, statistics]))
