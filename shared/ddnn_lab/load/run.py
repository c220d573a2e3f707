"""Measuring a target: load from one process or from several."""

import multiprocessing
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from multiprocessing.process import BaseProcess
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final, TypeVar

import uvloop

from ddnn.errors import DDNNError
from ddnn_lab.load.drive import Arrivals, Driven, Processes, Target, Used, Window, drive
from ddnn_lab.load.measured import Measured

__all__ = ["measure", "measure_async"]

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_TOGETHER_S: Final = 0.1
"""Time for all processes to hear when they begin."""
Progress = Callable[[float, int], object]
T = TypeVar("T")


def measure(
    target: Target,
    arrivals: Arrivals,
    *,
    seconds: float,
    warm_up_s: float = 1.0,
    deadline_s: float = 2.0,
    processes: Processes | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Measured:
    """Load `target` and return what was measured after the warm-up, with the CPU of `processes`.

    `workers` is the number of processes that make the load; with more than one, `target` must not have been called yet.
    `progress` hears the seconds passed and the events ended, of a single worker.
    """
    if workers == 1:
        job = measure_async(
            target,
            arrivals,
            seconds=seconds,
            warm_up_s=warm_up_s,
            deadline_s=deadline_s,
            processes=processes,
            progress=progress,
        )
        return _run(job)
    parts = [(place, part) for place in range(workers) if (part := arrivals.part(place, workers))]
    spawn, read = multiprocessing.get_context("spawn"), (processes or Processes()).read
    with ExitStack() as stack:
        pipes = []
        for place, part in parts:
            here, there = spawn.Pipe()
            worker = spawn.Process(target=_work, args=(there, target, part, (place, workers)), daemon=True)
            worker.start()
            there.close()
            stack.callback(_end, worker)
            pipes.append(here)
        for pipe in pipes:
            _hear(pipe)  # it has imported what it needs
        window = Window(monotonic() + _TOGETHER_S, warm_up_s, seconds)
        for pipe in pipes:
            pipe.send(window)
        whole = Driven([], _at(window.start, read), _at(window.end, read))
        found = [_hear(pipe) for pipe in pipes]
        return Measured.of([whole, *found], arrivals, window, deadline_s, workers=len(parts))


async def measure_async(
    target: Target,
    arrivals: Arrivals,
    *,
    seconds: float,
    warm_up_s: float = 1.0,
    deadline_s: float = 2.0,
    processes: Processes | None = None,
    progress: Progress | None = None,
) -> Measured:
    """`measure` in a loop that runs already; closes `target` at the end."""
    window, ended = Window(monotonic(), warm_up_s, seconds), 0

    def done() -> None:
        nonlocal ended
        ended += 1
        if progress:
            progress(monotonic() - window.begin, ended)

    try:
        driven = await drive(target, arrivals, window, (processes or Processes()).read, done=done)
    finally:
        await target.aclose()
    return Measured.of([driven], arrivals, window, deadline_s)


def _work(
    pipe: "Connection[Any, Any]",
    target: Target,
    arrivals: Arrivals,
    numbers: tuple[int, int],
) -> None:
    async def job() -> Driven:
        try:
            return await drive(target, arrivals, window, Processes().read, numbers=numbers)
        finally:
            await target.aclose()

    pipe.send("ready")
    window: Window = pipe.recv()
    pipe.send(_run(job()))


def _at(moment: float, read: Callable[[], Used]) -> Used:
    sleep(max(0.0, moment - monotonic()))
    return read()


def _hear(pipe: "Connection[Any, Any]") -> Any:
    try:
        return pipe.recv()
    except EOFError as error:
        raise DDNNError("a process of the load generator ended before its work did") from error


def _end(worker: BaseProcess) -> None:
    worker.terminate()
    worker.join()


def _run(job: Coroutine[Any, Any, T]) -> T:
    return uvloop.run(job)
