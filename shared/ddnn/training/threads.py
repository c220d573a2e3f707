"""How many threads a training has: measured on its first steps, not counted by cores.

Small networks, or cores that other processes use too, make many threads wait for each other: up to ten times as long
as one thread takes.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Final

import torch

__all__ = ["Threads"]

PAIRS: Final = 4  #: of a step with one thread and one with all that are compared
GAIN: Final = 1.15  #: so many times as fast all threads must be
HOPELESS: Final = 2.0  #: so many times as slow they have lost before all pairs are made
RECENT: Final = 16  #: steps by which all threads must keep their lead


class Threads:
    """One thread or all that torch was given (its default, or `OMP_NUM_THREADS`), whichever makes more steps.

    Args:
        kept: What an earlier part of the same training settled on: one thread stays, more are measured again.
        clock: Seconds since any time.
    """

    def __init__(self, kept: int | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.most, self._clock = torch.get_num_threads(), clock
        self.settled: int | None = 1 if 1 in (self.most, kept) else None
        """The number that is kept; none while it is measured."""
        self._seconds: dict[int, list[float]] = {1: [], self.most: []}

    @contextmanager
    def lent(self) -> Iterator[None]:
        """The number of threads is torch's own again afterwards."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.settled or 1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    @contextmanager
    def step(self) -> Iterator[None]:
        """A step, by turns with one thread and with all until one has won; all must keep their lead."""
        if self.settled == 1:
            yield
            return
        now = self.settled or min(self._seconds, key=lambda threads: (len(self._seconds[threads]), threads))
        torch.set_num_threads(now)
        begun = self._clock()
        yield
        self._seconds[now] = [*self._seconds[now][-RECENT:], self._clock() - begun]
        self._judge()

    def _judge(self) -> None:
        one, many = (self._seconds[threads][1:] for threads in (1, self.most))  # the first ones warm up
        if self.settled:
            slow = len(many) >= RECENT and bool(one) and median(many[-RECENT:]) > GAIN * median(one)
        elif len(many) < 2:
            return
        else:
            slow = sum(many) > HOPELESS * sum(one)
            if len(many) < PAIRS and not slow:
                return
            slow = slow or sum(many) * GAIN > sum(one)
        self.settled = 1 if slow else self.most
        torch.set_num_threads(self.settled)
