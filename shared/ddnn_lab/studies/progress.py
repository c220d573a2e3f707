"""A study going on: a bar for each run at a terminal, lines where the output is kept."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeElapsedColumn

from ddnn.formatting import clock
from ddnn_lab.studies.job import Job

__all__ = ["StudyProgress", "study_progress"]


class StudyProgress:
    """Shows how a study goes on; this one shows nothing."""

    def planned(self, done: int, total: int) -> None:
        """So many runs of so many that are known of are done."""

    def started(self, job: Job) -> None:
        """A run begins."""

    def moved(self, job: Job, progress: Mapping[str, Any]) -> None:
        """A run is somewhere: `{"epoch", "epochs", "seconds", "validation"}`."""

    def ended(self, job: Job, seconds: float, error: str | None) -> None:
        """A run is over, with the sentence that ended it if it failed."""


@contextmanager
def study_progress() -> Iterator[StudyProgress]:
    """What fits stderr."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        "{task.fields[validation]}",
    )
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress)


class _Bars(StudyProgress):
    def __init__(self, progress: Progress) -> None:
        self.progress, self.tasks = progress, dict[str, TaskID]()
        self.all = progress.add_task("[bold]runs[/bold]", total=None, validation="")

    def planned(self, done: int, total: int) -> None:
        self.progress.update(self.all, completed=done, total=total)

    def started(self, job: Job) -> None:
        epochs = job.config.training.epochs if job.config else None
        self.tasks[job.fingerprint] = self.progress.add_task(job.name, total=epochs, validation="")

    def moved(self, job: Job, progress: Mapping[str, Any]) -> None:
        self.progress.update(self.tasks[job.fingerprint], completed=progress["epoch"], validation=_exits(progress))

    def ended(self, job: Job, seconds: float, error: str | None) -> None:
        self.progress.remove_task(self.tasks.pop(job.fingerprint))
        self.progress.console.print(_end(job, seconds, error), markup=False)


class _Lines(StudyProgress):
    def __init__(self, console: Console) -> None:
        self.print, self.runs, self.tenths = partial(console.print, markup=False, soft_wrap=True), "", dict[str, int]()

    def planned(self, done: int, total: int) -> None:
        self.runs = f"{done} of {total} runs done"

    def started(self, job: Job) -> None:
        self.print(f"{job.name}: begins; {self.runs}")

    def moved(self, job: Job, progress: Mapping[str, Any]) -> None:
        tenth = 10 * progress["epoch"] // progress["epochs"]
        if tenth > self.tenths.get(job.fingerprint, 0):
            self.tenths[job.fingerprint] = tenth
            self.print(f"{job.name}: epoch {progress['epoch']} of {progress['epochs']}, {_exits(progress)}")

    def ended(self, job: Job, seconds: float, error: str | None) -> None:
        self.print(_end(job, seconds, error))


def _exits(progress: Mapping[str, Any]) -> str:
    exits = " ".join(f"{exit} {share:.1%}" for exit, share in progress["validation"].items())
    return f"validation {exits}, {clock(progress['seconds'])}"


def _end(job: Job, seconds: float, error: str | None) -> str:
    return f"{job.name}: {'failed: ' + error if error else 'done'}, {clock(seconds)}"
