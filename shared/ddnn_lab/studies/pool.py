"""Runs one after another, or several at once in processes of one thread each."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, Final, Protocol

from ddnn.errors import DDNNError
from ddnn_lab.studies.archive import Archive, read_json
from ddnn_lab.studies.job import Job
from ddnn_lab.studies.work import PROGRESS_FILE, carry_out

__all__ = ["Quiet", "Viewer", "work_off"]

LOOK_S: Final = 0.5
"""How often the progress of other processes is looked at."""
ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Plan = Callable[[], Sequence[Job]]


class Viewer(Protocol):
    """Who wants to see a study go on."""

    def planned(self, done: int, total: int) -> None:
        """So many runs of so many that are known of are done."""

    def started(self, job: Job) -> None:
        """A run begins."""

    def moved(self, job: Job, progress: Mapping[str, Any]) -> None:
        """A run is somewhere: `{"epoch", "epochs", "seconds", "found"}`."""

    def ended(self, job: Job, seconds: float, error: str | None) -> None:
        """A run is over, with the sentence that ended it if it failed."""


class Quiet:
    """A viewer that shows nothing."""

    def planned(self, done: int, total: int) -> None:
        """Nothing."""

    def started(self, job: Job) -> None:
        """Nothing."""

    def moved(self, job: Job, progress: Mapping[str, Any]) -> None:
        """Nothing."""

    def ended(self, job: Job, seconds: float, error: str | None) -> None:
        """Nothing."""


def work_off(
    plan: Plan,
    archive: Archive,
    *,
    workers: int = 1,
    command: str = "",
    viewer: Viewer | None = None,
    after: Callable[[], object] = lambda: None,
) -> dict[str, str]:
    """Carry out what `plan()` names and `archive` does not hold; return the sentence of each run that failed, by name.

    The plan is asked again whenever a run ends, as some runs follow from the results of others; `after` is called then
    too. With several workers each trains in a process with one thread.
    """
    shown, failed = viewer or Quiet(), dict[str, str]()
    if workers == 1:
        while (job := next(iter(_left(plan, archive, failed, shown)), None)) is not None:
            _alone(job, archive, command, failed, shown)
            after()
    else:
        _Several(plan, archive, workers, command, failed, shown, after).run()
    return {name.split("|")[1]: sentence for name, sentence in failed.items()}


def _left(plan: Plan, archive: Archive, failed: Mapping[str, str], shown: Viewer) -> list[Job]:
    jobs = plan()
    left = [job for job in jobs if not archive.holds(job)]
    shown.planned(len(jobs) - len(left), len(jobs))
    return [job for job in left if _key(job) not in failed]


def _key(job: Job) -> str:
    return f"{job.fingerprint}|{job.name}"


def _alone(job: Job, archive: Archive, command: str, failed: dict[str, str], shown: Viewer) -> None:
    since = time.monotonic()
    shown.started(job)
    error = None
    try:
        carry_out(job, archive.shelf(job).path, command=command, told=lambda progress: shown.moved(job, progress))
    except DDNNError as raised:
        error = failed[_key(job)] = str(raised)
    shown.ended(job, time.monotonic() - since, error)


class _Several:
    """Runs in processes; each says where it is in a file in its folder."""

    def __init__(
        self,
        plan: Plan,
        archive: Archive,
        workers: int,
        command: str,
        failed: dict[str, str],
        shown: Viewer,
        after: Callable[[], object],
    ) -> None:
        self.plan, self.archive, self.workers, self.command = plan, archive, workers, command
        self.failed, self.shown, self.after = failed, shown, after
        self.running: dict[Future[None], tuple[Job, float]] = {}

    def run(self) -> None:
        """Until nothing is left."""
        with (
            _environment(ONE_THREAD),
            ProcessPoolExecutor(self.workers, mp_context=get_context("spawn"), initializer=_end_quietly) as pool,
        ):
            try:
                self._fill(pool)
                while self.running:
                    self._look()
            except BrokenProcessPool as error:
                raise DDNNError("a worker died, perhaps for want of memory; try again with fewer --workers") from error
            except BaseException:
                for process in list((pool._processes or {}).values()):
                    process.terminate()  # whole epochs are kept; waiting for the rest of a training helps nobody
                raise

    def _fill(self, pool: ProcessPoolExecutor) -> None:
        busy = {job.fingerprint for job, _ in self.running.values()}
        for job in _left(self.plan, self.archive, self.failed, self.shown):
            if len(self.running) == self.workers:
                break
            if job.fingerprint not in busy:
                future = pool.submit(carry_out, job, self.archive.shelf(job).path, command=self.command)
                self.running[future] = (job, time.monotonic())
                self.shown.started(job)
        self.pool = pool

    def _look(self) -> None:
        ended, _ = wait(self.running, timeout=LOOK_S, return_when=FIRST_COMPLETED)
        for job, since in self.running.values():
            file = self.archive.shelf(job).path / PROGRESS_FILE
            if (progress := read_json(file)) and file.stat().st_mtime >= time.time() - (time.monotonic() - since):
                self.shown.moved(job, progress)
        for future in ended:
            job, since = self.running.pop(future)
            error = None
            try:
                future.result()
            except DDNNError as raised:
                error = self.failed[_key(job)] = str(raised)
            self.shown.ended(job, time.monotonic() - since, error)
        if ended:
            self._fill(self.pool)
            self.after()


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
