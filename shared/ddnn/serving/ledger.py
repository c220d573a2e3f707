"""The latest decisions of a tier, kept so that another policy can be tried on them."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ddnn.policy import Policy
from ddnn.serving.case import Case
from ddnn.types import Answer, Bools, Exit, Floats

__all__ = ["Decision", "Ledger", "scores_behind"]

MOST_BYTES: Final = 16 << 20
"""Decisions of one tier take at most, about."""
_SMALLEST: Final = np.float32(1e-35)
_OVERHEAD: Final = 1600
"""Bytes of one decision besides its numbers."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is known of one event."""

    judged: Mapping[Exit, Floats]
    """(K,) scores of each exit that is known, the answer's too; what comes later of an audit is seen here as well."""
    devices: Floats
    """(n, K) scores of the devices below, whose rows mean nothing where `here` is false; (0, K) at a device."""
    here: Bools
    """(n,), whose scores are known."""
    live: int
    """How many devices below this tier took part."""
    exit: Exit
    """Where the event was answered."""

    @property
    def classes(self) -> int:
        """K."""
        return int(self.devices.shape[1])


class Ledger:
    """The last `events` decisions, or as many as fit into 16 MiB; over n devices below and K classes."""

    def __init__(self, events: int, *, devices: int, classes: int) -> None:
        each = 4 * classes * (devices + len(Exit)) + _OVERHEAD
        self._devices, self._classes = devices, classes
        self._decisions: deque[Decision] = deque(maxlen=min(events, MOST_BYTES // each))

    def __len__(self) -> int:
        return len(self._decisions)

    def __iter__(self) -> Iterator[Decision]:
        return iter(self._decisions)

    @property
    def room(self) -> int:
        """Decisions it keeps at most."""
        return self._decisions.maxlen or 0

    def note(self, case: Case, answer: Answer) -> None:
        """Keep what is known of an event that was answered; the oldest one goes."""
        if answer.label < 0 or not self.room:
            return
        if answer.exit not in case.judged:
            case.judged[answer.exit] = scores_behind(answer, case.policy)
        scores, here = case.inputs.get("scores"), case.inputs.get("present")
        if scores is None or here is None:
            scores = np.zeros((self._devices, self._classes), np.float32)
            here = np.zeros(self._devices, np.bool_)
            for part in case.answered:  # of an event that devices settled, theirs is all there is
                scores[part.child], here[part.child] = part.inputs["scores"][0], True
        live = int(np.count_nonzero(case.devices))
        self._decisions.append(Decision(case.judged, scores, here, live, answer.exit))


def scores_behind(answer: Answer, policy: Policy) -> Floats:
    """(K,) scores that make the answer's probabilities under `policy`; they are known but for a constant."""
    live = int(np.count_nonzero(answer.devices))
    temperature = policy.judging(answer.exit, live).temperatures.of(answer.exit)
    return np.asarray(np.log(np.maximum(answer.probabilities, _SMALLEST)) * np.float32(temperature), np.float32)
