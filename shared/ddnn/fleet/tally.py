"""Running totals over played events."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ddnn.fleet.player import Played
from ddnn.types import Exit

__all__ = ["Tally"]

_LATENCIES_KEPT: Final = 10_000


@dataclass
class Tally:
    """What a person wants to know of the events so far."""

    events: int = 0
    """Answered events."""
    failed: int = 0
    """Events nobody answered."""
    labelled: int = 0
    """Answered events whose true label is known."""
    right: int = 0
    """Those answered with it."""
    degraded: int = 0
    exits: Counter[Exit] = field(default_factory=Counter)
    bytes_up: int = 0
    """Payload sent up by all tiers for all events."""
    raw_bytes: int = 0
    """Size of the views that stayed where they were made."""
    milliseconds: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))

    def add(self, played: Played) -> None:
        """Count one more event."""
        if played.answer is None:
            self.failed += 1
            return
        answer = played.answer
        self.events += 1
        self.degraded += answer.degraded
        self.exits[answer.exit] += 1
        self.bytes_up += answer.bytes_up
        self.raw_bytes += sum(view.nbytes for view in played.event.views if view is not None)
        self.milliseconds.append(played.milliseconds)
        if played.event.label is not None:
            self.labelled += 1
            self.right += answer.label == played.event.label

    @property
    def accuracy(self) -> float | None:
        """Share of the labelled events answered rightly, 0..1."""
        return self.right / self.labelled if self.labelled else None

    def share(self, exit: Exit) -> float:
        """Share of the events that `exit` answered, 0..1."""
        return self.exits[exit] / self.events if self.events else 0.0

    @property
    def bytes_per_event(self) -> float:
        """Payload sent up for one event, on average, all links together."""
        return self.bytes_up / self.events if self.events else 0.0

    @property
    def raw_bytes_per_event(self) -> float:
        """Size of one event's raw views, on average."""
        return self.raw_bytes / self.events if self.events else 0.0

    def latency(self, percent: float) -> float:
        """A percentile of the latest latencies, in milliseconds."""
        return float(np.percentile(np.asarray(self.milliseconds), percent)) if self.milliseconds else 0.0

    def document(self) -> dict[str, object]:
        """The totals as data, for `--json`."""
        return {
            "events": self.events,
            "failed": self.failed,
            "accuracy": self.accuracy,
            "degraded": self.degraded,
            "exit_share": {exit.value: self.share(exit) for exit in Exit},
            "bytes_per_event": self.bytes_per_event,
            "raw_bytes_per_event": self.raw_bytes_per_event,
            "p50_ms": self.latency(50),
            "p95_ms": self.latency(95),
        }
