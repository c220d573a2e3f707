"""The sensors: show the views of each event to the devices, at a chosen rate, and give back the answers."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from ddnn.client import AsyncFleet, EventAnswer
from ddnn.errors import DDNNError
from ddnn.fleet.events import Event

__all__ = ["Pace", "Played", "play"]

_MOST_AT_ONCE: Final = 32
_FIRST_REST: Final = 0.05
_LONGEST_REST: Final = 2.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How events come."""

    rate: float | None = None
    """Events a second, whether the last was answered or not; None = the next when the last was answered."""
    jitter_ms: float = 0.0
    """Each view comes up to this much later than its event, evenly drawn."""
    drop: float = 0.0
    """Share of the views that are lost; one view of each event always stays."""
    seed: int = 0
    threshold: float | None = None
    """In place of the policy's thresholds: how sure an exit must be to answer."""


@dataclass(frozen=True, slots=True)
class Played:
    """One event and what became of it."""

    event: Event
    answer: EventAnswer | None
    """None when nobody answered."""
    milliseconds: float
    """From the event to its answer."""
    error: str = ""
    """Why nobody answered."""


async def play(fleet: AsyncFleet, events: Iterator[Event], pace: Pace) -> AsyncIterator[Played]:
    """Play `events` to `fleet`; yield them as they are answered.

    Where no rate is set and nobody answers, the next event comes after a rest, twice as long each time, up to 2 s.
    """
    chance = random.Random(pace.seed)
    run = uuid4().hex[:8]  # an id is never used twice: a fleet holds on to what it has answered
    pending: set[asyncio.Task[Played]] = set()
    began = rested = time.monotonic()
    rest = 0.0
    most = 1 if pace.rate is None else _MOST_AT_ONCE
    try:
        for number, event in enumerate(events):
            due = began + number / pace.rate if pace.rate else began
            while (wait := max(due, rested) - time.monotonic()) > 0 or len(pending) >= most:
                if not pending:
                    await asyncio.sleep(wait)
                    continue
                timeout = None if len(pending) >= most else wait
                done, pending = await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    played = task.result()
                    if pace.rate is None:
                        rest = 0.0 if played.answer else min(_LONGEST_REST, 2 * rest or _FIRST_REST)
                        rested = time.monotonic() + rest
                    yield played
            seen = _lose(event, pace.drop, chance)
            delays = [chance.uniform(0, pace.jitter_ms) / 1000 for _ in seen.views]
            pending.add(asyncio.create_task(_ask(fleet, seen, f"{run}-{number}", delays, pace.threshold)))
        for answered in asyncio.as_completed(pending):
            yield await answered
    finally:
        for task in pending:
            task.cancel()


async def _ask(fleet: AsyncFleet, event: Event, id: str, delays: list[float], threshold: float | None) -> Played:
    began = time.perf_counter()
    answer, error = None, ""
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
