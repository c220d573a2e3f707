"""The benefit of the doubt: an exit above, which sees more, counts as better where events are too few to say.

Without it the thresholds of few events sell the exits above: of a hundred events local has 58 right and the cloud 57,
and nothing goes up, though chance alone makes that five events either way. Legend: N events, m exits below the cloud.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from ddnn.policy import Policy
from ddnn.topology import Topology
from ddnn.tuning.frontier import Limits
from ddnn.tuning.objective import below
from ddnn.tuning.points import Points
from ddnn.tuning.sample import Sample
from ddnn.types import Array, Bools, Exit, Ints

__all__ = ["DOUBT", "doubted", "reference", "sees"]

DOUBT: Final = 1.0  #: standard errors
_TRIES: Final = 60


def reference(right: Bools, counts: Ints, seen: Sequence[int], doubt: float) -> int:
    """The exit that sees most of those which are not surely worse than the best; of exits that see the same the lowest.

    By `right` (N, m + 1) and what events count (N,). Surely: by more than `doubt` standard errors of the difference,
    which comes of events that one of both has right. `seen` (m + 1) says more of an exit that sees more.
    """
    sums = counts @ right
    best = int(sums.argmax())
    good = [
        exit
        for exit in range(right.shape[1])
        if sums[best] - sums[exit] <= doubt * _error(right[:, best] != right[:, exit], counts)
    ]
    return min(good, key=lambda exit: (-seen[exit], exit))


def sees(topology: Topology, exits: Sequence[Exit]) -> list[int]:
    """A device's exit, and the local one, see scores; of one edge the cloud sees what that does, but for views."""
    more = topology.views is not None or len(topology.edges) > 1 or Exit.EDGE not in exits
    return [{Exit.EDGE: 1, Exit.CLOUD: 1 + more}.get(exit, 0) for exit in exits]


def doubted(
    sample: Sample, policy: Policy, drop: float, points: Points, limits: Limits, doubt: float, weights: Ints | None
) -> tuple[str, Array] | None:
    """The highest exit that events go up to, and the cheapest thresholds (m,) within `limits` that lose little by it.

    What they lose of the right answers of the exit that has the benefit of the doubt, and `doubt` standard errors of
    that, is at most `drop` of all. None: nothing keeps to the limits so.
    """
    right, exits = sample.right(policy), (*points.asked.exits, Exit.CLOUD)
    counts = np.ones(len(sample), np.int64) if weights is None else weights[sample.scores.y]
    held = reference(right, counts, sees(sample.scores.topology, exits), doubt)
    highest = exits[max(held, int((counts @ right).argmax()))].value
    own, allowed = right[:, held], drop * counts.sum()
    most = int(counts.sum()) - math.ceil(counts @ own - allowed - 1e-9)
    within = below(limits, points.asked, highest)
    for _ in range(_TRIES):
        found = points.best(replace(within, most_wrong=most), "cost")
        if not len(found.wrong):
            break
        row = found.thresholds[0]
        answered = sample.decisions(policy.at(points.asked.thresholds(row))).label == sample.scores.y
        lost = counts @ own - counts @ answered + doubt * _error(answered != own, counts)
        if lost <= allowed + 1e-9:
            return highest, row
        most = int(found.wrong[0]) - max(1, int((lost - allowed) / 2))
    alone = np.zeros(len(points.asked.exits))
    alone[held:] = 1.0
    free = limits.most_cost is None and not limits.caps and not limits.classes
    return (exits[held].value, alone) if free else None


def _error(differs: Bools, counts: Ints) -> float:
    return float(np.sqrt((counts[differs].astype(np.float64) ** 2).sum()))
