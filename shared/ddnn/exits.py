"""What an exit says of an event, how uncertain it is, and whether it answers: the one rule, served and offline.

Criteria measure uncertainty in [0, 1]; an exit answers iff its criterion is below its threshold. Shapes: scores and
probabilities are (…, K) over K classes, criteria (…).
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ddnn.policy import Policy
from ddnn.task import CLASSIFICATION, Task, Votes
from ddnn.types import Bools, Exit, Floats, Ints

__all__ = [
    "NOBODY",
    "Judged",
    "answers",
    "judge",
    "judge_under",
    "thresholds_under",
]

NOBODY: Final = -1
"""In place of an exit's rank or a label: there is no answer."""


class Judged(NamedTuple):
    """What one exit says of events, whatever its threshold."""

    probabilities: Floats
    """(…, K), at the exit's temperature."""
    uncertainty: Floats
    """(…), the criterion; infinite where no device took part."""
    labels: Ints
    """(…)."""


def judge(
    scores: Floats,
    temperature: float | npt.ArrayLike,
    criterion: str,
    votes: Votes = None,
    task: Task = CLASSIFICATION,
) -> Judged:
    """What an exit says by its `scores` (…, K); `temperature` is one for all, or (…) of each."""
    p = task.probabilities(scores, np.asarray(temperature, np.float32))
    return Judged(p, task.uncertainty(criterion, p, votes), task.labels(p))


def answers(uncertainty: Floats, threshold: npt.ArrayLike) -> Bools:
    """(…) whether an exit answers: its criterion is below its threshold, in double precision; 0 never is."""
    return np.less(uncertainty, np.asarray(threshold, np.float64))


def judge_under(
    policy: Policy, exit: Exit, scores: Floats, live: Ints, votes: Votes = None, task: Task = CLASSIFICATION
) -> Judged:
    """What `exit` says under `policy` when `live` (…) devices take part in each answer; unsure where none does."""
    temperatures = _by_live(live, lambda count: policy.judging(exit, count).temperatures.of(exit))
    judged = judge(scores, temperatures, policy.criterion, votes, task)
    return judged._replace(uncertainty=np.where(live > 0, judged.uncertainty, np.float32(np.inf)))


def thresholds_under(policy: Policy, exit: Exit, live: Ints) -> npt.NDArray[np.float64]:
    """(…) thresholds of `exit` under `policy` when `live` (…) devices take part."""
    return _by_live(live, lambda count: policy.judging(exit, count).thresholds.of(exit))


def _by_live(live: Ints, value: Callable[[int], float]) -> npt.NDArray[np.float64]:
    return np.array([value(count) for count in range(int(live.max(initial=0)) + 1)], np.float64)[live]
