"""A policy for a network with too few validation events to choose thresholds by: careful, but with early exits."""

from typing import Final

import numpy as np

from ddnn.policy import Policy, Thresholds
from ddnn.topology import Topology
from ddnn.tuning.calibration import fit_temperatures
from ddnn.tuning.cost import exits_asked
from ddnn.tuning.doubt import DOUBT, reference, sees
from ddnn.tuning.sample import Sample
from ddnn.types import Exit

__all__ = ["TUNED_FROM", "careful_policy"]

TUNED_FROM: Final = 100  #: validation events from which on training tunes thresholds
_WITHOUT_EVENTS: Final = 0.25
_MOST: Final = 0.5  #: few events without a mistake do not show that there are none


def careful_policy(policy: Policy, topology: Topology, sample: Sample | None) -> Policy:
    """`policy` with fitted temperatures and careful thresholds; without a `sample` with 0.25 at every exit.

    The exit that sees most of those that are not surely worse than the best (`ddnn.tuning.doubt`) answers everything.
    One below it answers where its uncertainty is below that of its surest mistake, an event that it has wrong and an
    exit above has right, and below 0.5.
    """
    exits = exits_asked(topology)[:-1]
    limits = dict.fromkeys((exit.value for exit in Exit if exit is not Exit.CLOUD), 0.0)
    limits |= {exit.value: _WITHOUT_EVENTS for exit in exits}
    if sample is not None:
        policy = policy.model_copy(update={"temperatures": fit_temperatures(sample.scores)})
        asked, right = sample.asked(policy), sample.right(policy)
        seen = sees(topology, (*exits, Exit.CLOUD))
        held = reference(right, np.ones(len(right), np.int64), seen, DOUBT)
        for place, exit in enumerate(exits):
            mistakes = ~right[:, place] & right[:, place + 1 :].any(axis=1)
            surest = float(asked.uncertainty[mistakes, place].min(initial=_MOST))
            limits[exit.value] = 1.0 if place >= held else float(np.clip(surest, 0, 1))
    return policy.model_copy(update={"thresholds": Thresholds(**limits)})
