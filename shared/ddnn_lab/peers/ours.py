"""Our fleet, its cloud on the cloud's cores and all else below, and how it is asked."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ddnn.evaluation import Scores
from ddnn.evaluation.decide import judge
from ddnn.fleet.processes import LocalFleet
from ddnn.links import Shape
from ddnn.policy import Policy
from ddnn.types import Exit, Floats, Tier
from ddnn_lab.peers.clock import FineProcesses
from ddnn_lab.peers.cores import Cores, on

__all__ = ["PlacedFleet", "processes", "threshold_of", "unsure_below"]


class PlacedFleet(LocalFleet):
    """A fleet whose tiers keep to their cores."""

    def __init__(
        self, bundle: Path, cores: Cores, *, base_port: int, shapes: Mapping[Tier, Shape] | None = None
    ) -> None:
        super().__init__(bundle, base_port=base_port, shapes=shapes)
        self._cores = cores

    def start(self, name: str) -> None:
        """Start the tier `name` on its cores."""
        with on(self._cores.cloud if name == "cloud" else self._cores.all):
            super().start(name)


def processes(fleet: LocalFleet) -> FineProcesses:
    """Of all its tiers, by name."""
    return FineProcesses({name: fleet.pid(name) for name in fleet.members})


def unsure_below(scores: Scores, policy: Policy) -> Floats:
    """[N], by how much no exit below the cloud is sure: an event goes up under one threshold for all iff this is not
    below it."""
    exits = [exit for exit in (Exit.LOCAL, Exit.EDGE) if exit in scores.topology.exits]
    each = [judge(scores, policy, exit)[1].reshape(len(scores), -1).min(axis=1) for exit in exits]
    return np.asarray(np.min(each, axis=0), np.float32)


def threshold_of(share: float, unsure: Floats) -> float:
    """The threshold under which about `share` of events with these values goes up to the cloud."""
    if share >= 1:
        return 0.0
    return float(np.quantile(unsure, 1 - share, method="higher"))
