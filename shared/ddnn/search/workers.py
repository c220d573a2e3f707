"""Trainings side by side: processes that each train one network at a time."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Final, cast

from ddnn.data import Dataset
from ddnn.errors import DDNNError, WorkerLost
from ddnn.search.trial import try_out
from ddnn.training import Config

__all__ = ["Crew", "Loaded", "crew"]

Loaded = Callable[[], Dataset]
"""What loads the events, in each process anew: views that stay in a file are not sent to it."""
END_S: Final = 10.0


class Crew:
    """Those that train: this process, or several others."""

    def __init__(self, data: Dataset, seed: int, most_memory: int | None, others: Sequence[Connection] = ()) -> None:
        self._data, self._seed, self._most, self._others = data, seed, most_memory, others

    def tried(self, configs: Sequence[Config]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Train each network; its place and what it came to, in any order.

        Raise `WorkerLost` when a process ends before its network is trained.
        """
        if not self._others:
            for place, config in enumerate(configs):
                yield place, try_out(config, self._data, self._seed, self._most)
            return
        left, idle, busy = list(enumerate(configs)), list(self._others), dict[Connection, int]()
        while left or busy:
            while left and idle:
                place, config = left.pop(0)
                idle[0].send((config, self._seed, self._most))
                busy[idle.pop(0)] = place
            for heard in wait(list(busy)):
                done = cast(Connection, heard)
                try:
                    found = done.recv()
                except (EOFError, ConnectionError) as error:
                    sentence = "a process that trained a network ended before it had; --resume goes on with the others"
                    raise WorkerLost(sentence) from error
                if isinstance(found, DDNNError):
                    raise found
                yield busy.pop(done), found
                idle.append(done)


@contextmanager
def crew(load: Loaded, data: Dataset, *, seed: int, most_memory: int | None = None, workers: int = 1) -> Iterator[Crew]:
    """Those that train, until the block ends, which ends them; with several, each loads the events by itself."""
    if workers == 1:
        yield Crew(data, seed, most_memory)
        return
    context, others, processes = get_context("spawn"), list[Connection](), list[Any]()
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = threads or str(max((os.cpu_count() or 1) // workers, 1))
    try:
        for _ in range(workers):
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(there, load), daemon=True)
            process.start()
            there.close()  # so that its end is heard
            processes.append(process)
            others.append(here)
        os.environ.pop("OMP_NUM_THREADS")
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = threads
        yield Crew(data, seed, most_memory, others)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(END_S)


def _work(here: Connection, load: Loaded) -> None:
    """Train what is asked for, until nobody asks; Ctrl-C is for the process that asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    data = load()
    while True:
        try:
            config, seed, most = here.recv()
        except EOFError:
            return
        try:
            here.send(try_out(config, data, seed, most))
        except DDNNError as error:
            here.send(error)
