"""Carrying runs out, one after another or several at once in processes of one thread each.

A run is trained, or its training goes on; exported, tuned; and what is not measured yet is measured.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from ddnn.data import Dataset
from ddnn.errors import BadBundle, DDNNError
from ddnn.pipeline import make_bundle
from ddnn.training import Config, Run
from ddnn.training.run import CHECKPOINT_FILE
from ddnn.tuning import Objective
from ddnn_lab.studies.job import Job, RunFolder, read_json, write_json
from ddnn_lab.studies.measures import MEASURES
from ddnn_lab.studies.progress import StudyProgress
from ddnn_lab.studies.subject import Subject

__all__ = ["Pool"]

LOOK_S: Final = 0.5  #: how often the progress of other processes is looked at
ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
PROGRESS_FILE: Final = "progress.json"
GOLDEN_EVENTS: Final = 32  #: enough to prove the export; these bundles are not served

Moved = Callable[[Mapping[str, Any]], object]


@dataclass
class Pool:
    """Carries out what `planned()` names and `folder` does not hold.

    `planned` is asked again whenever a run ends, as some runs follow from the results of others. With several workers
    each trains in a process with one thread, and writes its progress into a file in its folder.
    """

    planned: Callable[[], Sequence[Job]]
    folder: Path
    workers: int
    command: str
    progress: StudyProgress
    running: dict[Future[None], tuple[Job, float]] = field(default_factory=dict)
    failed: dict[str, tuple[Job, str]] = field(default_factory=dict)

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
        left = [job for job in jobs if not RunFolder.of(self.folder, job).record(job)]
        self.progress.planned(len(jobs) - len(left), len(jobs))
        busy = {job.fingerprint for job, _ in self.running.values()} | self.failed.keys()
        for job in [job for job in left if job.fingerprint not in busy][: self.workers - len(self.running)]:
            self.progress.started(job)
            # Only a run in this process can call back.
            moved = partial(self.progress.moved, job) if isinstance(executor, _InTurn) else None
            since = time.time()
            self.running[executor.submit(_carry_out, job, RunFolder.of(self.folder, job), self.command, moved)] = (
                job,
                since,
            )

    def _look(self) -> bool:
        """Wait a little for a run to end; return whether one has."""
        ended, _ = wait(self.running, timeout=LOOK_S, return_when=FIRST_COMPLETED)
        for job, since in self.running.values():
            file = RunFolder.of(self.folder, job).path / PROGRESS_FILE
            if (progress := read_json(file)) and file.stat().st_mtime >= since:
                self.progress.moved(job, progress)
        for future in ended:
            job, since = self.running.pop(future)
            if error := future.exception():
                if not isinstance(error, DDNNError):
                    raise error
                self.failed[job.fingerprint] = job, str(error)
            self.progress.ended(job, time.time() - since, str(error) if error else None)
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
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)  # a library of a process reads them when it is loaded
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_quietly) as pool:
            try:
                yield pool
            except BrokenProcessPool as error:
                raise DDNNError("a worker died, perhaps for want of memory; try again with fewer --workers") from error
            except BaseException:
                for process in list((pool._processes or {}).values()):
                    process.terminate()  # whole epochs are kept; the rest of a training is not waited for
                raise
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _end_quietly() -> None:
    """Let Ctrl-C end this process at once, unless its parent goes on: that says what is to be said."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _carry_out(job: Job, folder: RunFolder, command: str, moved: Moved | None) -> None:
    """Do what is left of `job`; an interrupted training goes on after its last whole epoch.

    `moved` is called with `{"epoch", "epochs", "seconds", "validation"}` after every epoch.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    data = job.split.load().of_devices(job.devices)
    if folder.run is None:
        about = {"label": job.label, "seed": job.seed, "fold": job.fold, "source": dict(data.source)}
        folder.keep_run(about | (_make(job, job.config, data, folder, command, moved) if job.config else {}))
    subject = Subject(folder.path, data, job.qualities, job.pictures)
    try:
        for name in [name for name in job.measures if name not in folder.measures(job)]:
            folder.keep(name, MEASURES[name].of(subject))
    except BadBundle as error:
        raise BadBundle(f"{error}; delete {folder.path} and the run is made again") from error


def _make(
    job: Job, config: Config, data: Dataset, folder: RunFolder, command: str, moved: Moved | None
) -> dict[str, Any]:
    """Train and export; return how it went."""
    run, notes, ended = Run(folder.path / "training"), list[str](), list[float]()
    file = folder.path / PROGRESS_FILE
    kept = (read_json(file) or {}) if run.unfinished else {}
    clock = _Clock(file, config.training.epochs, moved, float(kept.get("seconds", 0.0)))
    wishes: dict[str, Any] = {"seed": job.seed, "run": run, "resume": run.unfinished, "force": True, "watcher": clock}
    wishes |= {"objective": Objective(job.drop), "command": command, "golden_events": GOLDEN_EVENTS, "tested": False}
    wishes |= {"phase": lambda _: ended.append(time.monotonic()), "say": notes.append}
    bundle = make_bundle(data, config, folder.path / "bundle", **wishes)
    (run.path / CHECKPOINT_FILE).unlink(missing_ok=True)  # by far the largest file, and nothing goes on from it
    epochs, events = run.summary()["epochs"], int((data.split == "train").sum())
    return {
        "config": config.model_dump(mode="json"),
        "epochs": epochs,
        "training_seconds": round(clock.seconds, 2),
        "export_seconds": round(time.monotonic() - ended[0], 2),
        "samples_per_second": round(events * epochs / max(clock.seconds, 1e-9), 1),
        "versions": bundle.manifest.training.versions,
        "notes": notes,
    }


@dataclass
class _Clock:
    """Adds up the seconds of a training over its interruptions, and writes after each epoch where it is."""

    file: Path
    epochs: int
    moved: Moved | None
    seconds: float
    since: float = field(default_factory=time.monotonic)

    def step(self, epoch: int, done: int, steps: int) -> None:
        """Nothing: a study shows epochs."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Add the time since the last one."""
        now = time.monotonic()
        self.seconds, self.since = self.seconds + now - self.since, now
        progress = {
            "epoch": record["epoch"] + 1,
            "epochs": self.epochs,
            "seconds": round(self.seconds, 2),
            "validation": {exit: record[exit] for exit in ("local", "edge", "cloud") if record.get(exit) is not None},
        }
        write_json(self.file, progress)
        if self.moved:
            self.moved(progress)
