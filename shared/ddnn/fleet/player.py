"""The sensors: events shown to devices at a pace, some views late or lost; and what came of them."""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from uuid import uuid4

import numpy as np

from ddnn.client import AsyncFleet, EventAnswer
from ddnn.errors import DDNNError
from ddnn.fleet.events import Event, file_of
from ddnn.types import Exit

__all__ = ["Pace", "Played", "Tally", "play"]

_MOST_AT_ONCE: Final = 32
_FIRST_REST: Final = 0.05
_LONGEST_REST: Final = 2.0
_LATENCIES_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Pace:
    """How events come."""

    rate: float | None = None
    """Events a second, whether the last was answered or not; None = the next when the last was answered."""
    jitter_ms: float = 0.0  #: each view comes up to this much later than its event, evenly drawn
    drop: float = 0.0  #: share of the views that are lost; one view of each event always stays
    seed: int = 0
    threshold: float | None = None  #: in place of the policy's thresholds: how sure an exit must be to answer


@dataclass(frozen=True, slots=True)
class Played:
    """One event and what became of it."""

    event: Event
    answer: EventAnswer | None  #: None when no device answered
    milliseconds: float  #: from the event to its answer
    error: str = ""  #: why there is no answer


_Ask = Callable[[], Coroutine[Any, Any, Played]]


def play(fleet: AsyncFleet, events: Iterator[Event], pace: Pace) -> AsyncIterator[Played]:
    """Play `events` to `fleet`; yield them as they are answered, without a rate after a rest where none answers."""
    chance = random.Random(pace.seed)
    run = uuid4().hex[:8]  # an id is never used twice: a fleet holds on to what it has answered

    def prepared(number: int, event: Event) -> _Ask:
        seen = _lose(event, pace.drop, chance)
        delays = [chance.uniform(0, pace.jitter_ms) / 1000 for _ in seen.views]
        return partial(_ask, fleet, seen, f"{run}-{number}", delays, pace.threshold)

    asks = (prepared(number, event) for number, event in enumerate(events))
    return _one_by_one(asks) if pace.rate is None else _at_rate(asks, pace.rate)


async def _one_by_one(asks: Iterator[_Ask]) -> AsyncIterator[Played]:
    rest = 0.0
    for ask in asks:
        await asyncio.sleep(rest)
        played = await ask()
        rest = 0.0 if played.answer else min(_LONGEST_REST, 2 * rest or _FIRST_REST)
        yield played


async def _at_rate(asks: Iterator[_Ask], rate: float) -> AsyncIterator[Played]:
    pending: set[asyncio.Task[Played]] = set()
    began = time.monotonic()
    try:
        for number, ask in enumerate(asks):
            while (wait := began + number / rate - time.monotonic()) > 0 or len(pending) >= _MOST_AT_ONCE:
                if not pending:
                    await asyncio.sleep(wait)
                    continue
                timeout = None if len(pending) >= _MOST_AT_ONCE else wait
                done, pending = await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
            pending.add(asyncio.create_task(ask()))
        for answered in asyncio.as_completed(pending):
            yield await answered
    finally:
        for task in pending:
            task.cancel()


async def _ask(fleet: AsyncFleet, event: Event, id: str, delays: list[float], threshold: float | None) -> Played:
    began, answer, error = time.perf_counter(), None, ""
    try:
        answer = await fleet.answer_event(event.views, event=id, delays=delays, threshold=threshold)
    except DDNNError as raised:
        error = str(raised)
    return Played(event, answer, (time.perf_counter() - began) * 1000, error)


def _lose(event: Event, share: float, chance: random.Random) -> Event:
    if not share:
        return event
    seen = [device for device, view in enumerate(event.views) if view is not None]
    kept = {device for device in seen if chance.random() >= share} or {chance.choice(seen)}
    return Event(event.name, event.label, tuple(v if i in kept else None for i, v in enumerate(event.views)))


@dataclass
class Tally:
    """What a person wants to know of the events so far."""

    events: int = 0  #: answered events
    failed: int = 0  #: events without an answer
    labelled: int = 0  #: answered events whose true label is known
    right: int = 0  #: those answered with it
    degraded: int = 0
    exits: Counter[Exit] = field(default_factory=Counter)
    bytes_up: int = 0  #: payload sent up by all tiers for all events
    raw_bytes: int = 0  #: size of the views, or photographs, that stayed where they were made
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
        self.raw_bytes += sum(
            len(file) if (file := file_of(view)) else view.nbytes for view in played.event.views if view is not None
        )
        self.milliseconds.append(played.milliseconds)
        if played.event.label is not None:
            self.labelled += 1
            self.right += answer.label == played.event.label

    def document(self) -> dict[str, Any]:
        """The totals as data, for `--json`: shares in 0..1, averages over the answered events, recent latencies."""
        answered = max(1, self.events)
        p50, p95 = np.percentile(self.milliseconds or [0.0], [50, 95]).tolist()
        accuracy = self.right / self.labelled if self.labelled else None
        return {
            "events": self.events,
            "failed": self.failed,
            "accuracy": accuracy,
            "degraded": self.degraded,
            "exit_share": {exit.value: self.exits[exit] / answered for exit in Exit},
            "bytes_per_event": self.bytes_up / answered,
            "raw_bytes_per_event": self.raw_bytes / answered,
            "p50_ms": p50,
            "p95_ms": p95,
        }
