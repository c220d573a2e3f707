"""Carrying one run out: train, or go on training; export, tune; measure what is not measured yet."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.errors import BadBundle
from ddnn.export import finish, staged
from ddnn.training import Config, Run, train
from ddnn.training.run import CHECKPOINT_FILE
from ddnn_lab.studies.archive import Shelf, read_json, write_json
from ddnn_lab.studies.job import Job
from ddnn_lab.studies.measures import MEASURES, Subject

__all__ = ["PROGRESS_FILE", "Told", "carry_out"]

PROGRESS_FILE: Final = "progress.json"
GOLDEN_EVENTS: Final = 32
"""Enough to prove the export; nobody serves these bundles."""

Told = Callable[[Mapping[str, Any]], object]
"""Called with `{"epoch", "epochs", "seconds", "found"}` after every epoch."""


def carry_out(job: Job, folder: Path, *, command: str = "", told: Told = lambda _: None) -> None:
    """Do what is left of `job` in `folder`; an interrupted training goes on after its last whole epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    shelf = Shelf(folder)
    data = job.source.load().of_devices(job.devices)
    if shelf.run is None and job.config:
        _make(job, job.config, data, shelf, command, told)
    elif shelf.run is None:
        shelf.keep_run({"label": job.label, "seed": job.seed, "fold": job.fold, "source": dict(data.source)})
    subject = Subject(folder, data, job.qualities)
    try:
        for name in shelf.lacks(job):
            shelf.keep(name, MEASURES[name].of(subject))
    except BadBundle as error:
        raise BadBundle(f"{error}; delete {folder} and the run is made again") from error


def _make(job: Job, config: Config, data: Dataset, shelf: Shelf, command: str, told: Told) -> None:
    run = Run(shelf.path / "training")
    document = config.model_dump(mode="json")
    with run.alone():
        watch = _Watch(shelf.path / PROGRESS_FILE, config.training.epochs, told, fresh=not run.unfinished)
        network = train(config, data, seed=job.seed, run=run, resume=run.unfinished, watcher=watch)
        started, notes = time.monotonic(), list[str]()
        with staged(shelf.bundle, force=True) as folder:
            finish(
                folder,
                network,
                data,
                config=document,
                seed=job.seed,
                command=command,
                max_accuracy_drop=job.drop,
                golden_events=GOLDEN_EVENTS,
                say=notes.append,
            )
        events = int((data.split == "train").sum())
        epochs = run.summary()["epochs"]
        shelf.keep_run(
            {
                "label": job.label,
                "seed": job.seed,
                "fold": job.fold,
                "source": dict(data.source),
                "config": document,
                "epochs": epochs,
                "training_seconds": round(watch.seconds, 2),
                "export_seconds": round(time.monotonic() - started, 2),
                "samples_per_second": round(events * epochs / max(watch.seconds, 1e-9), 1),
                "versions": Bundle.open(shelf.bundle).manifest.training.versions,
                "notes": notes,
            }
        )
        (run.path / CHECKPOINT_FILE).unlink(missing_ok=True)  # by far the largest file, and nothing goes on from it


class _Watch:
    """Keeps the time of all parts of a training, and says after each epoch where it is."""

    def __init__(self, file: Path, epochs: int, told: Told, *, fresh: bool) -> None:
        self.file, self.epochs, self.told, self.since = file, epochs, told, time.monotonic()
        self.seconds = 0.0 if fresh else float((read_json(file) or {}).get("seconds", 0.0))

    def step(self, epoch: int, done: int, steps: int) -> None:
        """Nothing: a study shows epochs."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Add the time since the last one."""
        now = time.monotonic()
        self.seconds, self.since = self.seconds + now - self.since, now
        found = {exit: record[exit] for exit in ("local", "edge", "cloud") if record.get(exit) is not None}
        told = {
            "epoch": record["epoch"] + 1,
            "epochs": self.epochs,
            "seconds": round(self.seconds, 2),
            "found": found,
        }
        write_json(self.file, told)
        self.told(told)
