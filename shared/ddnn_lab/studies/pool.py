"""Runs one after another, or several at once in processes of one thread each."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any, Final

from ddnn.errors import DDNNError
from ddnn_lab.studies.job import Job, StudyFolder, read_json
from ddnn_lab.studies.progress import StudyProgress
from ddnn_lab.studies.work import PROGRESS_FILE, carry_out

__all__ = ["Pool"]

LOOK_S: Final = 0.5
"""How often the progress of other processes is looked at."""
ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Pool:
    """Carries out what `planned()` names and `folder` does not hold.

    `planned` is asked again whenever a run ends, as some runs follow from the results of others. With several workers
    each trains in a process with one thread, and tells its progress in a file in its folder.
    """

    def __init__(
        self,
        planned: Callable[[], Sequence[Job]],
        folder: StudyFolder,
        *,
        workers: int = 1,
        command: str = "",
        progress: StudyProgress | None = None,
    ) -> None:
        self.planned, self.folder, self.workers, self.command = planned, folder, workers, command
        self.progress = progress or StudyProgress()
        self.running: dict[Future[None], tuple[Job, float]] = {}
        self.failed: dict[str, tuple[Job, str]] = {}

    def run(self, after: Callable[[], object]) -> dict[str, str]:
        """Until nothing is left; `after` is called whenever runs have ended. Return the sentence of each failed run."""
        with _executor(self.workers) as executor:
            self._fill(executor)
            while self.running:
                if self._look():
                    after()
                    self._fill(executor)
        return {job.name: sentence for job, sentence in self.failed.values()}

    def _fill(self, executor: Executor) -> None:
        """Start what is left, as far as there are workers for it."""
        jobs = self.planned()
        left = [job for job in jobs if not self.folder.record(job)]
        self.progress.planned(len(jobs) - len(left), len(jobs))
        busy = {job.fingerprint for job, _ in self.running.values()} | self.failed.keys()
        for job in [job for job in left if job.fingerprint not in busy][: self.workers - len(self.running)]:
            self.progress.started(job)
            # Only a run in this process can call back.
            moved = partial(self.progress.moved, job) if isinstance(executor, _InTurn) else None
            since = time.time()
            future = executor.submit(carry_out, job, self.folder.of(job).path, command=self.command, moved=moved)
            self.running[future] = (job, since)

    def _look(self) -> bool:
        """Wait a little for a run to end; return whether one has."""
        ended, _ = wait(self.running, timeout=LOOK_S, return_when=FIRST_COMPLETED)
        for job, since in self.running.values():
            file = self.folder.of(job).path / PROGRESS_FILE
            if (progress := read_json(file)) and file.stat().st_mtime >= since:
                self.progress.moved(job, progress)
        for future in ended:
            job, since = self.running.pop(future)
            error = None
            try:
                future.result()
            except DDNNError as raised:
                error = str(raised)
                self.failed[job.fingerprint] = job, error
            self.progress.ended(job, time.time() - since, error)
        return bool(ended)


class _InTurn(Executor):
    """Carries a run out in this process, at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return when it is over; what is no error of ours, Ctrl-C for example, comes through."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except DDNNError as error:
            future.set_exception(error)
        return future


@contextmanager
def _executor(workers: int) -> Iterator[Executor]:
    if workers == 1:
        yield _InTurn()
        return
    with (
        _environment(ONE_THREAD),
        ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_quietly) as pool,
    ):
        try:
            yield pool
        except BrokenProcessPool as error:
            raise DDNNError("a worker died, perhaps for want of memory; try again with fewer --workers") from error
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()  # whole epochs are kept; waiting for the rest of a training helps nobody
            raise


def _end_quietly() -> None:
    """Let Ctrl-C end this process at once, unless its parent goes on: that says what is to be said."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started meanwhile: a library reads them when it is loaded."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
