"""The load itself: events begin when they are due, whatever became of those before."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import Final

from ddnn_lab.load.arrivals import Arrivals, Closed, Poisson
from ddnn_lab.load.outcome import Sample, Target
from ddnn_lab.load.processes import Used

__all__ = ["Driven", "Window", "drive"]

_REST_S: Final = 0.02
"""How long a client of a closed loop rests after it got no answer; refusals come at once."""


@dataclass(frozen=True, slots=True)
class Window:
    """When load is made and what of it counts, on the machine's monotonic clock."""

    begin: float
    """When the warm-up begins."""
    warm_up_s: float
    seconds: float

    @property
    def start(self) -> float:
        """From here on events count."""
        return self.begin + self.warm_up_s

    @property
    def end(self) -> float:
        """No event begins after this."""
        return self.start + self.seconds


@dataclass(frozen=True)
class Driven:
    """What one process saw: its samples, the warm-up's too, and what was used when the window opened and closed."""

    samples: list[Sample]
    before: Used
    after: Used


async def drive(
    target: Target,
    arrivals: Arrivals,
    window: Window,
    read: Callable[[], Used],
    *,
    numbers: tuple[int, int] = (0, 1),
    done: Callable[[], object] = lambda: None,
) -> Driven:
    """Load `target` and return when every event begun has ended; `numbers` are the first event's and the step.

    `done` is called after each event.
    """
    samples: list[Sample] = []
    number = count(*numbers)

    async def one(due: float) -> bool:
        sent = monotonic()
        outcome = await target(next(number))
        samples.append(Sample(due, sent, monotonic(), outcome))
        done()
        return outcome.ok

    async def at(moment: float) -> Used:
        await asyncio.sleep(max(0.0, moment - monotonic()))
        return read()

    await asyncio.sleep(max(0.0, window.begin - monotonic()))
    async with asyncio.TaskGroup() as group:
        before, after = group.create_task(at(window.start)), group.create_task(at(window.end))
        if isinstance(arrivals, Poisson):
            await _open_loop(arrivals, window, lambda due: group.create_task(one(due)))
        else:
            await _closed_loop(arrivals, window, one)
    return Driven(samples, before.result(), after.result())


async def _open_loop(arrivals: Poisson, window: Window, begin: Callable[[float], object]) -> None:
    for at in arrivals.times(window.warm_up_s + window.seconds).tolist():
        due = window.begin + at
        await asyncio.sleep(max(0.0, due - monotonic()))
        begin(due)


async def _closed_loop(arrivals: Closed, window: Window, one: Callable[[float], Awaitable[bool]]) -> None:
    async def client() -> None:
        while (now := monotonic()) < window.end:
            if not await one(now):
                await asyncio.sleep(_REST_S)

    async with asyncio.TaskGroup() as group:
        for _ in range(arrivals.clients):
            group.create_task(client())
