"""What an exit says of an event, how uncertain it is, and whether it answers: the one rule, served and offline.

Scores and probabilities are (…, K) over K classes, criteria (…), in [0, 1].
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ddnn.policy import Policy
from ddnn.task import CLASSIFICATION, Task, Votes
from ddnn.types import Bools, Exit, Floats, Ints

__all__ = ["NOBODY", "Judged", "Rule", "answers", "judge", "judge_under", "thresholds_under"]

NOBODY: Final = -1  #: in place of an exit's rank or a label: there is no answer


class Judged(NamedTuple):
    """What one exit says of events, whatever its threshold."""

    probabilities: Floats  #: (…, K), at the exit's temperature
    uncertainty: Floats  #: (…), the criterion; infinite where no device took part
    labels: Ints  #: (…)


def judge(
    scores: Floats, temperature: float | npt.ArrayLike, criterion: str, votes: Votes = None, task: Task = CLASSIFICATION
) -> Judged:
    """What an exit says by its `scores` (…, K); `temperature` is one for all, or (…) of each."""
    p = task.probabilities(scores, np.asarray(temperature, np.float32))
    return Judged(p, task.uncertainty(criterion, p, votes), task.labels(p))


def answers(uncertainty: Floats, threshold: npt.ArrayLike) -> Bools:
    """(…) whether an exit answers: its criterion is below its threshold, in double precision; 0 never is."""
    return np.less(uncertainty, np.asarray(threshold, np.float64))


class Rule:
    """A policy as exits apply it: by exit, and by how many of up to `devices` devices take part in its answer."""

    def __init__(self, policy: Policy, devices: int, task: Task = CLASSIFICATION) -> None:
        judging = {exit: [policy.judging(exit, live) for live in range(devices + 1)] for exit in Exit}
        self.policy, self.task = policy, task
        self.by_live = bool(policy.live)
        """Whether it matters how many."""
        self.temperatures = {exit: np.array([by.temperatures.of(exit) for by in judging[exit]]) for exit in Exit}
        self.thresholds = {exit: np.array([by.thresholds.of(exit) for by in judging[exit]]) for exit in Exit}

    def judge(self, exit: Exit, scores: Floats, live: Ints | Sequence[int] | int, votes: Votes = None) -> Judged:
        """What `exit` says by its `scores` (…, K) when `live` devices, (…) or as many for all, take part."""
        return judge(scores, self.temperatures[exit][live], self.policy.criterion, votes, self.task)


def judge_under(
    policy: Policy, exit: Exit, scores: Floats, live: Ints, votes: Votes = None, task: Task = CLASSIFICATION
) -> Judged:
    """What `exit` says under `policy` when `live` (…) devices take part in each answer; unsure where none does."""
    judged = Rule(policy, int(live.max(initial=0)), task).judge(exit, scores, live, votes)
    return judged._replace(uncertainty=np.where(live > 0, judged.uncertainty, np.float32(np.inf)))


def thresholds_under(policy: Policy, exit: Exit, live: Ints) -> npt.NDArray[np.float64]:
    """(…) thresholds of `exit` under `policy` when `live` (…) devices take part."""
    thresholds: npt.NDArray[np.float64] = Rule(policy, int(live.max(initial=0))).thresholds[exit][live]
    return thresholds
