"""What waits for a section: when it becomes free it runs on all that is there, without waiting for more.

Everything is on the event loop, but that a section which is slow runs on a thread of its own, one run at a time:
requests keep coming in meanwhile, and are the next batch. A fast one runs on the loop: handing it over would cost more.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from ddnn.serving.case import Case, Stage, reserve
from ddnn.types import Array

__all__ = ["Outputs", "SectionQueue"]

Outputs = dict[str, Array]

_SLOW_S, _FAST_S = 0.002, 0.001
"""A section goes to the thread once each of its last runs took longer, and comes back once one was quicker."""
_LAST: Final = 8
"""So many runs: where the machine is busy any one may take long, but not all of them."""
_WEIGHT: Final = 0.1
"""Of the newest run in what is usual."""


@dataclass(eq=False, slots=True)
class _Visit:
    """Events that came together and go on together."""

    missing: int
    """Of them have not been through yet."""
    came: float
    over: asyncio.Future[None]
    until: float = math.inf
    """Loop time at which they are answered without this section."""

    def through(self) -> None:
        """One more is."""
        self.missing -= 1
        if not self.missing and not self.over.done():
            self.over.set_result(None)


class SectionQueue:
    """Events before one section; at most `most` go through in one run.

    `run` is the section, on a thread perhaps; `decide` hears on the loop what it said, and how many seconds it took.
    With `delay_s` a section that is free waits so long for more events.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Case]], Outputs],
        decide: Callable[[Sequence[Case], Outputs, float], None],
        *,
        most: int = 64,
        delay_s: float = 0.0,
    ) -> None:
        self._run, self._decide, self._most, self._delay_s = run, decide, most, delay_s
        self._waiting: deque[tuple[Case, _Visit]] = deque()
        self._next: asyncio.Handle | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._running_since: float | None = None
        self._busy_since = 0.0
        """Since when there has been something to do for this turn; 0 = nothing."""
        self._usual_s = self._usual_each_s = 0.0
        self._last: deque[float] = deque(maxlen=_LAST)
        self.slow = False
        """Whether runs go to the thread."""

    @property
    def wait_s(self) -> float:
        """Seconds until an event that came now would be through what is before it."""
        ahead = len(self._waiting) * self._usual_each_s
        if self._running_since is not None:
            ahead += max(0.0, self._usual_s - (perf_counter() - self._running_since))
        return ahead

    async def visit(self, cases: Sequence[Case]) -> None:
        """Return when all are through, or are no longer wanted; raise what the section or `decide` raised."""
        loop = asyncio.get_running_loop()
        visit = _Visit(len(cases), perf_counter(), loop.create_future())
        self._waiting.extend([(case, visit) for case in cases])
        self._call_next(loop)
        if not self.slow:
            await visit.over
            return
        left = max(case.left() for case in cases)
        visit.until = loop.time() + max(0.0, left - reserve(left) / 2)
        timer = loop.call_at(visit.until, _expire, cases, visit)
        try:
            await visit.over
        finally:
            timer.cancel()

    def close(self) -> None:
        """Let the thread end."""
        if self._thread:
            self._thread.shutdown(wait=False)

    def _call_next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run as soon as the section is free, after all that this turn of the loop still brings."""
        if self._running_since is not None or (self._next and not self._delay_s):
            return
        full = len(self._waiting) >= self._most
        if self._next and full:
            self._next.cancel()
            self._next = None
        if self._next is None:
            wait = self._delay_s and not full
            self._next = loop.call_later(self._delay_s, self._start) if wait else loop.call_soon(self._start)

    def _start(self) -> None:
        self._next = None
        batch = self._take()
        if not batch:
            self._busy_since = 0.0
            return
        cases = [case for case, _ in batch]
        start = self._running_since = perf_counter()
        self._busy_since = self._busy_since or start
        waited: dict[int, Stage] = {}
        for case, visit in batch:  # events that came together share the entry
            case.stages.append(waited.setdefault(id(visit), Stage("queue", start - visit.came, visit.came)))
        if self.slow:
            self._thread = self._thread or ThreadPoolExecutor(1, "section")
            work = asyncio.get_running_loop().run_in_executor(self._thread, self._timed, cases)
            work.add_done_callback(lambda work: self._finish(batch, cases, work.result))
        else:
            self._finish(batch, cases, lambda: self._timed(cases))

    def _take(self) -> list[tuple[Case, _Visit]]:
        """The next batch; what is answered, nobody's any more, or too late to come out in time leaves here.

        Running the late would make those behind them late too, and so on for ever. The last that waits runs if it has
        any time left at all: it may show that runs are shorter than is believed.
        """
        batch: list[tuple[Case, _Visit]] = []
        now = asyncio.get_running_loop().time()
        run_s = self._usual_s if self.slow else 0.0
        while self._waiting and len(batch) < self._most:
            case, visit = self._waiting.popleft()
            # Whoever waits for a slow section is answered a little before the deadline, whatever comes.
            late = min(case.deadline, visit.until) - run_s <= now if self._waiting else case.deadline <= now
            if late:
                case.degrade("deadline")
            if case.outcome.done() or visit.over.done():
                visit.through()
            else:
                batch.append((case, visit))
        return batch

    def _timed(self, cases: Sequence[Case]) -> tuple[Outputs, float]:
        start = perf_counter()
        return self._run(cases), perf_counter() - start

    def _finish(
        self, batch: Sequence[tuple[Case, _Visit]], cases: Sequence[Case], result: Callable[[], tuple[Outputs, float]]
    ) -> None:
        try:
            outputs, seconds = result()
            self._learn(seconds, len(batch), perf_counter() - self._busy_since)
            self._decide(cases, outputs, seconds)
        except Exception as error:  # it is theirs who came for it; the others' next run may go well
            for _, visit in batch:
                if not visit.over.done():
                    visit.over.set_exception(error)
        self._running_since = None
        self._busy_since = perf_counter() if self._waiting else 0.0
        for _, visit in batch:
            visit.through()
        if self._waiting:
            self._call_next(asyncio.get_running_loop())

    def _learn(self, seconds: float, events: int, turn_s: float = 0.0) -> None:
        """A run took `seconds`; a turn is longer by what lies between runs, and that is what those behind it wait."""
        weight = _WEIGHT if self._usual_s else 1.0
        self._usual_s += weight * (seconds - self._usual_s)
        self._usual_each_s += weight * (max(seconds, turn_s) / events - self._usual_each_s)
        self._last.append(seconds)
        self.slow = len(self._last) == _LAST and min(self._last) > (_FAST_S if self.slow else _SLOW_S)


def _expire(cases: Sequence[Case], visit: _Visit) -> None:
    """Time is over while the section is still at it: whoever waits has the best answer so far."""
    for case in cases:
        case.degrade("deadline")
    if not visit.over.done():
        visit.over.set_result(None)
