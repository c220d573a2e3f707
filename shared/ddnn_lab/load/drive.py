"""The load itself: when events come, and what becomes of each; an event begins when it is due."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ddnn.errors import BadInput
from ddnn.extensions import needed_for

__all__ = ["CLIENT", "Arrivals", "Closed", "Driven", "Outcome", "Poisson"]
__all__ += ["Processes", "Sample", "Target", "Used", "Window", "drive"]


@dataclass(frozen=True, slots=True)
class Closed:
    """Closed loop: each client sends its next event when its last was answered; shows what a fleet can do at most."""

    clients: int = 1

    def __post_init__(self) -> None:
        if self.clients < 1:
            raise BadInput(f"there are {self.clients} clients; expected at least 1")

    def part(self, place: int, of: int) -> "Closed | None":
        """The share of one of several processes; None where there is nothing for it to do."""
        clients = len(range(place, self.clients, of))
        return Closed(clients) if clients else None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": "closed", "clients": self.clients}

    def __str__(self) -> str:
        return f"{self.clients} at once"


@dataclass(frozen=True, slots=True)
class Poisson:
    """Open loop: events come by themselves, independent of each other and of the answers, as those of many sensors do.

    A slow fleet slows nobody down who asks it, so whatever it makes others wait is seen.
    """

    rate: float  #: events a second, on average
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate < float("inf"):
            raise BadInput(f"the rate is {self.rate:g}; expected a positive number of events a second")

    def times(self, seconds: float) -> npt.NDArray[np.float64]:
        """Seconds from the start at which events come, within `seconds`; the same for the same seed."""
        chance = np.random.default_rng(self.seed)
        mean = self.rate * seconds
        times = np.cumsum(chance.exponential(1 / self.rate, int(mean + 10 * mean**0.5 + 20)))
        return times[times < seconds]

    def part(self, place: int, of: int) -> "Poisson":
        """The share of one of several processes: the sum of Poisson processes is one."""
        return Poisson(self.rate / of, self.seed if of == 1 else self.seed * 1000 + place)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": "poisson", "rate": self.rate, "seed": self.seed}

    def __str__(self) -> str:
        return f"{self.rate:g}/s"


Arrivals = Closed | Poisson


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a target said of one event."""

    ok: bool  #: there is an answer, in the right format
    label: int = -1
    right: bool | None = None  #: whether the label is the true one, where that is known
    exit: str = ""
    degraded: bool = False
    reason: str = ""  #: why it is degraded
    bytes_up: int = 0  #: payload sent up for the event
    errors: tuple[str, ...] = ()
    """A code for each request of the event that failed; an event may have an answer all the same."""


class Sample(NamedTuple):
    """One event: seconds on the machine's monotonic clock, and what became of it."""

    due: float
    """When it was to begin: latency counts from here, so that a generator held up by the fleet hides nothing."""
    sent: float
    ended: float
    outcome: Outcome


class Target(Protocol):
    """What is loaded: answers events by number. It opens its connections when it is first called, so that it can be
    handed to another process before."""

    async def __call__(self, number: int) -> Outcome:
        """Ask for event `number`; raises nothing."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


_REST_S: Final = 0.02  #: how long a client of a closed loop rests after it got no answer; refusals come at once


CLIENT: Final = "client"  #: name of the load generator among the processes


@dataclass(frozen=True, slots=True)
class Used:
    """By process name."""

    cpu_s: dict[str, float]  #: CPU seconds since the process began, with those of its children
    memory: dict[str, int]  #: resident bytes
    passed: dict[str, tuple[int, int]]  #: bytes by link, up and down


@dataclass(frozen=True)
class Processes:
    """Processes by name; a name's children, a server's workers for example, count as it."""

    ids: Mapping[str, int] = field(default_factory=dict)
    links: Mapping[str, Callable[[], tuple[int, int]]] = field(default_factory=dict)
    """By name, what tells how many bytes have passed up and down."""

    def read(self) -> Used:
        """What each has used until now. A process that is gone has used nothing."""
        used = Used({CLIENT: time.process_time()}, {}, {name: passed() for name, passed in self.links.items()})
        if not self.ids:
            return used
        with needed_for("reading the CPU of processes", extra="lab"):
            import psutil
        for name, number in self.ids.items():
            used.cpu_s[name], used.memory[name] = 0.0, 0
            try:
                process = psutil.Process(number)
                # A client that is also a parent, of a fleet for example, must not count itself.
                family = [each for each in (process, *process.children(recursive=True)) if each.pid != os.getpid()]
            except psutil.NoSuchProcess:
                continue
            for each in family:
                try:
                    with each.oneshot():
                        times = each.cpu_times()
                        used.cpu_s[name] += max(times.user + times.system, _fine(each.pid))
                        used.memory[name] += each.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
        return used


def _fine(process: int) -> float:
    """CPU seconds of the threads that live, in nanoseconds where Linux tells; 0 where nobody does.

    psutil's figure counts threads that have ended too, but in ticks of 10 ms, too coarse for a tier with little to do.
    """
    try:
        threads = Path(f"/proc/{process}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


@dataclass(frozen=True, slots=True)
class Window:
    """When load is made and what of it counts, on the machine's monotonic clock."""

    begin: float  #: when the warm-up begins
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
