"""The steps of learning and then testing: two parts, an order of points, a test of each up to the first that fails.

Legend: N events, m exits below the cloud that are asked, P points.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from ddnn.tuning.asked import Asked
from ddnn.tuning.binomial import p_values
from ddnn.tuning.frontier import frontier
from ddnn.types import Array, Ints

__all__ = ["NOTHING_SEEN", "Rung", "climb", "halves", "ladder"]

NOTHING_SEEN: Final[Ints] = np.zeros(0, np.int64)
_GENTLE: Final = np.arange(1, 10) / 10
"""How much of what the safest point answers below the cloud the rungs below it do."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One tested point."""

    losses: int
    p_value: float
    passed: bool


def halves(events: int, learning: float, seed: int, seen: Ints = NOTHING_SEEN) -> tuple[Ints, Ints]:
    """Rows of the learning and of the testing part, drawn at random; `seen` rows learn, where there is room.

    Not stratified: with a plain draw the testing part is itself a draw from the source, and the p-values are exact.
    """
    order = np.random.default_rng(seed).permutation(events)
    cut = round(learning * events)
    if len(seen) <= cut:
        order = np.concatenate([seen, order[~np.isin(order, seen)]])
    return np.sort(order[:cut]), np.sort(order[cut:])


def ladder(asked: Asked, costs: Array, y: Ints | None) -> Array:
    """(P, m) thresholds of the frontier of losses against cost, from the safest to the cheapest, and before them rungs.

    The safest point goes up to the first event that it would have lost, so its risk is about one event in those that
    learnt: too much, when few did. Testing therefore starts below it, at thresholds under which each exit gives a
    tenth, two tenths … of the answers. The cloud alone is left out: it loses nothing by definition.
    """
    found = frontier(asked.uncertainty, ~asked.losses(y), costs)
    steps = found.thresholds[np.lexsort((-found.cost, found.wrong))]
    steps = np.asarray(steps[(steps > 0).any(axis=1)], np.float64)
    if not len(steps):
        return steps
    answered = asked.reached(steps[:1])[0]
    gentle = np.zeros((len(_GENTLE), len(asked.exits)))
    for place in range(len(asked.exits)):
        mine = asked.uncertainty[answered == place, place].astype(np.float64)
        if len(mine):
            gentle[:, place] = np.quantile(mine, _GENTLE)
    answers = (asked.reached(gentle) < len(asked.exits)).any(axis=1)  # of ties, a part is none
    return np.concatenate([gentle[answers], steps])


def climb(losses: Iterable[int], events: int, risk: float, confidence: float) -> list[Rung]:
    """Test each point in turn, up to the first that fails; `losses` in `events` testing events."""
    chances = p_values(events, risk)
    rungs = []
    for count in losses:
        chance = float(chances[count])
        rungs.append(Rung(count, chance, chance <= 1 - confidence))
        if not rungs[-1].passed:
            break
    return rungs
