"""A study going on: a bar for each run at a terminal, lines where the output is kept."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ddnn.formatting import clock
from ddnn_lab.studies.job import Job
from ddnn_lab.studies.pool import Viewer

__all__ = ["viewer"]


@contextmanager
def viewer() -> Iterator[Viewer]:
    """What fits stderr."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[found]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress)


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.all = progress.add_task("[bold]runs[/bold]", total=None, found="")
        self.tasks: dict[str, TaskID] = {}

    def planned(self, done: int, total: int) -> None:
        self.progress.update(self.all, completed=done, total=total)

    def started(self, job: Job) -> None:
        epochs = job.config.training.epochs if job.config else None
        self.tasks[job.fingerprint] = self.progress.add_task(job.name, total=epochs, found="")

    def moved(self, job: Job, progress: Mapping[str, Any]) -> None:
        self.progress.update(self.tasks[job.fingerprint], completed=progress["epoch"], found=_found(progress))

    def ended(self, job: Job, seconds: float, error: str | None) -> None:
        self.progress.remove_task(self.tasks.pop(job.fingerprint))
        self.progress.console.print(_end(job, seconds, error), markup=False)


class _Lines:
    def __init__(self, console: Console) -> None:
        self.console, self.place, self.told = console, "", dict[str, int]()

    def planned(self, done: int, total: int) -> None:
        self.place = f"{done} of {total} runs done"

    def started(self, job: Job) -> None:
        self._say(f"{job.name}: begins; {self.place}")

    def moved(self, job: Job, progress: Mapping[str, Any]) -> None:
        tenth = 10 * progress["epoch"] // progress["epochs"]
        if tenth > self.told.get(job.fingerprint, 0):
            self.told[job.fingerprint] = tenth
            self._say(f"{job.name}: epoch {progress['epoch']} of {progress['epochs']}, {_found(progress)}")

    def ended(self, job: Job, seconds: float, error: str | None) -> None:
        self._say(_end(job, seconds, error))

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True)


def _found(progress: Mapping[str, Any]) -> str:
    exits = " ".join(f"{exit} {share:.1%}" for exit, share in progress["found"].items())
    return f"validation {exits}, {clock(progress['seconds'])}"


def _end(job: Job, seconds: float, error: str | None) -> str:
    return f"{job.name}: {'failed: ' + error if error else 'done'}, {clock(seconds)}"
