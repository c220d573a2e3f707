"""What is worth having of many networks: those that no other one is better than in both, and of these the knee."""

from collections.abc import Sequence

import numpy as np

from ddnn.errors import BadInput
from ddnn.search.trial import Per, Trial

__all__ = ["chosen", "dominates", "front_of", "knee_of"]


def dominates(one: Trial, other: Trial, per: Per) -> bool:
    """Whether a network is no worse in error and bytes than another one, and better in one of the two."""
    pairs = ((one.error, other.error), (one.bytes(per), other.bytes(per)))
    return all(mine <= its for mine, its in pairs) and any(mine < its for mine, its in pairs)


def front_of(trials: Sequence[Trial], per: Per) -> list[Trial]:
    """Those that none dominates, from few bytes to many; of equal ones the first."""
    front = list[Trial]()
    ranked = sorted(
        (trial for trial in trials if trial.refused is None), key=lambda t: (t.bytes(per), t.error, t.number)
    )
    for trial in ranked:
        if not front or trial.error < front[-1].error:
            front.append(trial)
    return front


def knee_of(front: Sequence[Trial], per: Per) -> Trial:
    """The network furthest below the line between both ends of a front, error and log bytes on one scale.

    A front of two or less has no knee: then the most accurate.
    """
    if len(front) < 3:
        return front[-1]
    error = np.array([trial.error for trial in front])
    cost = np.log(np.maximum([trial.bytes(per) for trial in front], 1.0))
    # Along a front error falls while bytes grow: both run from 0 to 1 between its ends.
    x, y = (cost - cost[0]) / (cost[-1] - cost[0]), (error - error[-1]) / (error[0] - error[-1])
    return front[int(np.argmax(1 - x - y))]


def chosen(front: Sequence[Trial], wish: str, per: Per) -> Trial:
    """The network of a front that is wished: `knee`, `accurate`, `smallest`, or its number."""
    named = {"knee": knee_of(front, per), "accurate": front[-1], "smallest": front[0]}
    named |= {str(trial.number): trial for trial in front}
    if wish not in named:
        raise BadInput(f"--choose is {wish}; expected none or one of {', '.join(named)}")
    return named[wish]
