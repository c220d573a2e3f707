"""What waits for a section: when it is free it runs on all that is there; a slow one on a thread of its own."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from ddnn.serving.event import Event, State
from ddnn.serving.request import Stage
from ddnn.types import Array

__all__ = ["Outputs", "SectionQueue"]

Outputs = dict[str, Array]

_SLOW_S, _FAST_S = 0.002, 0.001  #: to the thread when all of the last took longer, back when one was quicker
_LAST: Final = 8  #: so many runs: where the machine is busy any one may take long, but not all of them
_WEIGHT: Final = 0.1  #: of the newest run in what is usual


@dataclass(eq=False, slots=True)
class _Group:
    """Events that came together and go on together."""

    events: Sequence[Event]
    missing: int  #: of them have not been through yet


class SectionQueue:
    """Events before one section; at most `most` go through in one run, and `at_once` runs are under way.

    `run` is the section, on a thread perhaps; the rest is called on the loop: `decide` with what it said of a batch and
    how many seconds it took, `onward` with the events that came together and are not answered once all are through,
    `failed` where the section, or what followed, raised an error.
    With `delay_s` a section that is free waits so long for more events. One of which several runs may be under way
    works elsewhere: each waits for it on a thread.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Event]], Outputs],
        decide: Callable[[Sequence[Event], Outputs, float], None],
        onward: Callable[[Sequence[Event]], None] = lambda events: None,
        failed: Callable[[Sequence[Event], Exception], None] = lambda events, error: None,
        *,
        most: int = 64,
        delay_s: float = 0.0,
        at_once: int = 1,
    ) -> None:
        self._run, self._decide, self._onward, self._failed = run, decide, onward, failed
        self._most, self._delay_s, self._at_once = most, delay_s, at_once
        self._waiting: deque[tuple[Event, _Group]] = deque()
        self._next: asyncio.Handle | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._running: list[float] = []  # since when each run is under way, in that order
        self._busy_since = 0.0  # since when there has been something to do for this turn; 0 = nothing
        self._usual_s = self._usual_each_s = 0.0
        self._last: deque[float] = deque(maxlen=_LAST)
        self.slow = at_once > 1  # whether runs go to a thread

    @property
    def wait_s(self) -> float:
        """Seconds until an event that came now would be through what is before it."""
        ahead = len(self._waiting) * self._usual_each_s
        if not self._free:
            ahead += max(0.0, self._usual_s - (perf_counter() - self._running[0]))
        return ahead

    def put(self, events: Sequence[Event]) -> None:
        now, group = perf_counter(), _Group(events, len(events))
        for event in events:
            event.since = now
            self._waiting.append((event, group))
        self._call_next()

    @property
    def waiting(self) -> int:
        """Events before the section."""
        return len(self._waiting)

    @property
    def _free(self) -> bool:
        return len(self._running) < self._at_once

    def close(self) -> None:
        if self._thread:
            self._thread.shutdown(wait=False)

    def _call_next(self) -> None:
        """Run as soon as the section is free, after all that this turn of the loop still brings."""
        if not self._free or (self._next and not self._delay_s):
            return
        full = len(self._waiting) >= self._most
        if self._next and full:
            self._next.cancel()
            self._next = None
        if self._next is None:
            loop, wait = asyncio.get_running_loop(), self._delay_s and not full
            self._next = loop.call_later(self._delay_s, self._start) if wait else loop.call_soon(self._start)

    def _start(self) -> None:
        self._next = None
        batch = self._take()
        if not batch:
            self._busy_since = perf_counter() if self._running else 0.0
            return
        events = [event for event, _ in batch]
        start = perf_counter()
        self._running.append(start)
        self._busy_since = self._busy_since or start
        for event in events:
            event.stages.append(Stage("queue", start - event.since, event.since))
        if self.slow:
            self._thread = self._thread or ThreadPoolExecutor(self._at_once, "section")
            work = asyncio.get_running_loop().run_in_executor(self._thread, self._timed, events)
            work.add_done_callback(lambda work: self._finish(batch, events, start, work.result))
            if self._waiting:
                self._call_next()
        else:
            self._finish(batch, events, start, lambda: self._timed(events))

    def _take(self) -> list[tuple[Event, _Group]]:
        """The next batch; what is answered, or too late to come out in time, leaves here.

        Running the late makes those behind them late too. The last that waits runs all the same: runs may be shorter.
        """
        batch: list[tuple[Event, _Group]] = []
        now = asyncio.get_running_loop().time()
        run_s = self._usual_s if self.slow else 0.0
        while self._waiting and len(batch) < self._most:
            event, group = self._waiting.popleft()
            if event.state is State.DECIDING and event.until - (run_s if self._waiting else 0.0) <= now:
                event.degrade("deadline")
            if event.state is State.DECIDING:
                batch.append((event, group))
            else:
                self._through([group])
        return batch

    def _timed(self, events: Sequence[Event]) -> tuple[Outputs, float]:
        start = perf_counter()
        return self._run(events), perf_counter() - start

    def _finish(
        self,
        batch: Sequence[tuple[Event, _Group]],
        events: Sequence[Event],
        start: float,
        result: Callable[[], tuple[Outputs, float]],
    ) -> None:
        try:
            outputs, seconds = result()
            self._learn(seconds, len(batch), perf_counter() - self._busy_since)
            self._decide(events, outputs, seconds)
        except Exception as error:  # the next run may go well
            self._failed([event for event in events if event.state is State.DECIDING], error)
        self._running.remove(start)
        self._busy_since = perf_counter() if self._waiting or self._running else 0.0
        self._through([group for _, group in batch])
        if self._waiting:
            self._call_next()

    def _through(self, groups: Sequence[_Group]) -> None:
        for group in groups:
            group.missing -= 1
            if not group.missing and (left := [event for event in group.events if event.state is State.DECIDING]):
                self._onward(left)

    def _learn(self, seconds: float, events: int, turn_s: float = 0.0) -> None:
        """A run took `seconds`; a turn is longer by what lies between runs, and that is what those behind it wait."""
        weight = _WEIGHT if self._usual_s else 1.0
        self._usual_s += weight * (seconds - self._usual_s)
        self._usual_each_s += weight * (max(seconds / self._at_once, turn_s) / events - self._usual_each_s)
        self._last.append(seconds)
        if self._at_once == 1:
            self.slow = len(self._last) == _LAST and min(self._last) > (_FAST_S if self.slow else _SLOW_S)
