"""Which exit answers each of a bundle's golden events, by the policy as it is served, and with devices away."""

from dataclasses import dataclass

import numpy as np

from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.evaluation import decide
from ddnn.evaluation.scores import Recorder
from ddnn.fleet.events import golden_events
from ddnn.policy import Policy
from ddnn.types import Bools, Exit, Ints

__all__ = ["Ways", "ways_of"]


@dataclass(frozen=True)
class Ways:
    """Of each event, (N,) the rank of the exit that answers it and (N, D) the devices that see it."""

    exits: Ints
    present: Bools
    accuracy: float  #: share of the answers that are right

    def share(self, exit: Exit) -> float:
        return float((self.exits == exit.rank).mean())


def ways_of(bundle: Bundle, policy: Policy | None = None, *, away: float = 0.0, seed: int = 0) -> Ways:
    """Run the sections on the golden events and decide; each device misses each event with the chance `away`.

    An event that no device is there for does not take place. Raise `BadInput` for a bundle that has no edge to plan.
    """
    topology = bundle.topology
    if len(topology.edges) != 1 or len(topology.devices) < 2 or Exit.LOCAL not in topology.exits:
        raise BadInput(
            f"bundle {bundle.manifest.name} has {len(topology.devices)} devices and {len(topology.edges)} edges with"
            f" the exits {', '.join(topology.exits)}; a plan is for sites of several devices with scores and one edge"
        )
    data = golden_events(bundle)
    chance = np.random.default_rng(seed)
    present = data.present & (chance.random(data.present.shape) >= away)
    seen = present.any(axis=1)
    scores = Recorder(bundle, data).scores(present).take(np.flatnonzero(seen))
    decided = decide(scores, policy or bundle.policy)
    # A device that is sure by itself tells the edge, which then answers the others: for what it costs, a local exit.
    exits = np.maximum(decided.exit, Exit.LOCAL.rank)
    return Ways(exits, scores.present, decided.accuracy(scores.y))
