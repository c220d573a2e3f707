"""Contributions that come after their event was closed: whose, how late, and the wait that would have kept them."""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from ddnn.bundle import Training
from ddnn.serving.children import Children
from ddnn.serving.event import Event
from ddnn.serving.metrics import Metrics

__all__ = ["Lateness"]

_LATEST: Final = 256  #: contributions of a child, of which is told
_KEPT: Final = 0.99  #: the wait that is told keeps this share of them
_STEP_MS: Final = 10  #: it is a multiple of this, and one more for the clock


@dataclass(slots=True)
class _Seen:
    """All that came under one event id, also where what came late began another event."""

    opened: float  #: loop time of the first contribution
    closed: float | None = None  #: loop time at which nothing more was waited for; None before that
    here: set[int] = field(default_factory=set)  #: children that have contributed, in time or not


class _Came(NamedTuple):
    """When one contribution came."""

    delay: float  #: seconds after its event's first
    late: float | None  #: seconds after its event was closed; None: in time


class Lateness:
    """Who of a tier's children came late to events, of each by its latest contributions; bounded in events and time."""

    def __init__(self, children: Children, metrics: Metrics, events: int, age_s: float) -> None:
        """At most `events` ids are known, each for `age_s`."""
        self._children, self._metrics, self._events, self._age_s = children, metrics, events, age_s
        self._seen: OrderedDict[bytes, _Seen] = OrderedDict()
        self._came = [deque[_Came](maxlen=_LATEST) for _ in children.places]

    def came(self, id: bytes, child: int) -> None:
        """A contribution came now; a repeat says nothing."""
        seen, now = self._seen.get(id), asyncio.get_running_loop().time()
        if seen is None or now - seen.opened > self._age_s:
            self._seen[id] = seen = _Seen(now)
            self._seen.move_to_end(id)
            if len(self._seen) > self._events:
                self._seen.popitem(last=False)
        if child in seen.here:
            return
        seen.here.add(child)
        late = None if seen.closed is None else now - seen.closed
        self._came[child].append(_Came(now - seen.opened, late))
        if late is not None:
            self._metrics.came_late(self._children.of(child), late)

    def closed(self, event: Event, alive: Sequence[bool]) -> tuple[int, ...]:
        """Nothing more is waited for from now on; the same as `away`.

        An event that is begun again under the same id stays closed.
        """
        if event.id and (seen := self._seen.get(event.id)) and seen.closed is None:
            seen.closed = asyncio.get_running_loop().time()
        return self.away(event, alive)

    def away(self, event: Event, alive: Sequence[bool]) -> tuple[int, ...]:
        """The devices of living children that have not come: they are late, or have nothing to say of the event."""
        seen = self._seen.get(event.id or b"")
        here: Collection[int] = seen.here if seen else ()
        return self._children.of(*(child for child, lives in enumerate(alive) if lives and child not in here))

    def document(self, training: Training, wait_ms: float) -> dict[str, Any] | None:
        """Who of whose latest contributions some were late, in milliseconds; None where no one was.

        `keeps_ms`: the straggler timeout, `wait_ms` now, that would have kept nearly all of them. What it costs to lose
        them is in the accuracy that the training noted.
        """
        some = [child for child, came in enumerate(self._came) if any(each.late is not None for each in came)]
        if not some:
            return None
        rows = []
        for child in some:
            lost = self._children.of(child)
            told = _told(self._came[child], self._children.patience)
            rows.append({"devices": list(lost), **told, "accuracy_without": training.accuracy_without(lost)})
        return {
            "children": rows,
            "wait_ms": wait_ms,
            "keeps_ms": max(row["keeps_ms"] for row in rows),
            "accuracy": training.accuracy_without(),
            "accuracy_without": training.accuracy_without(self._children.of(*some)),
        }


def _told(came: Collection[_Came], patience: int) -> dict[str, Any]:
    late = [each.late for each in came if each.late is not None]
    p50, p95 = np.quantile(late, (0.5, 0.95)) * 1000
    keeps = float(np.quantile([each.delay for each in came], _KEPT, method="higher")) * 1000 / patience
    told = {"late": len(late), "of": len(came), "p50_ms": round(float(p50), 1), "p95_ms": round(float(p95), 1)}
    return {**told, "keeps_ms": _STEP_MS * (math.ceil(keeps / _STEP_MS) + 1)}
