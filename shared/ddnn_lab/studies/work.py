"""Carrying one run out: train, or go on training; export, tune; measure what is not measured yet."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ddnn.data import Dataset
from ddnn.errors import BadBundle
from ddnn.pipeline import make_bundle
from ddnn.training import Config, Run
from ddnn.training.run import CHECKPOINT_FILE
from ddnn_lab.studies.job import Job, RunFolder, read_json, write_json
from ddnn_lab.studies.measures import MEASURES
from ddnn_lab.studies.subject import Subject

__all__ = ["PROGRESS_FILE", "carry_out"]

PROGRESS_FILE: Final = "progress.json"
GOLDEN_EVENTS: Final = 32
"""Enough to prove the export; these bundles are not served."""

Moved = Callable[[Mapping[str, Any]], object]


def carry_out(job: Job, path: Path, *, command: str = "", moved: Moved | None = None) -> None:
    """Do what is left of `job` in the folder `path`; an interrupted training goes on after its last whole epoch.

    `moved` is called with `{"epoch", "epochs", "seconds", "validation"}` after every epoch.
    """
    path.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(path)
    data = job.split.load().of_devices(job.devices)
    if folder.run is None:
        about = {"label": job.label, "seed": job.seed, "fold": job.fold, "source": dict(data.source)}
        folder.keep_run(about | (_make(job, job.config, data, folder, command, moved) if job.config else {}))
    subject = Subject(path, data, job.qualities)
    try:
        for name in [name for name in job.measures if name not in folder.measures(job)]:
            folder.keep(name, MEASURES[name].of(subject))
    except BadBundle as error:
        raise BadBundle(f"{error}; delete {path} and the run is made again") from error


def _make(
    job: Job, config: Config, data: Dataset, folder: RunFolder, command: str, moved: Moved | None
) -> dict[str, Any]:
    """Train and export; return how it went."""
    run, notes, ended = Run(folder.path / "training"), list[str](), list[float]()
    clock = _Clock(folder.path / PROGRESS_FILE, config.training.epochs, moved, fresh=not run.unfinished)
    bundle = make_bundle(
        data,
        config,
        folder.bundle,
        seed=job.seed,
        run=run,
        resume=run.unfinished,
        force=True,
        max_accuracy_drop=job.drop,
        command=command,
        golden_events=GOLDEN_EVENTS,
        tested=False,
        watcher=clock,
        phase=lambda _: ended.append(time.monotonic()),
        say=notes.append,
    )
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


class _Clock:
    """Adds up the time of a training over its interruptions, and tells after each epoch where it is."""

    def __init__(self, file: Path, epochs: int, moved: Moved | None, *, fresh: bool) -> None:
        self.file, self.epochs, self.moved, self.since = file, epochs, moved, time.monotonic()
        self.seconds = 0.0 if fresh else float((read_json(file) or {}).get("seconds", 0.0))

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
