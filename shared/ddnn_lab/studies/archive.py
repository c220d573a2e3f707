"""The folder of a study: each run under its fingerprint, with its bundle and what was measured of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddnn.seal import write_atomically
from ddnn_lab.studies.job import Job
from ddnn_lab.studies.measures import MEASURES

__all__ = ["Archive", "Record", "Shelf", "read_json", "write_json"]


@dataclass(frozen=True)
class Record:
    """A finished run."""

    job: Job
    run: Mapping[str, Any]
    """How it was made: seconds, samples per second, epochs."""
    measures: Mapping[str, Any]
    """Its measures by name."""
    folder: Path


class Shelf:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def bundle(self) -> Path:
        """The trained network."""
        return self.path / "bundle"

    @property
    def run(self) -> dict[str, Any] | None:
        """How the run was made, once it is."""
        return read_json(self.path / "run.json")

    def keep_run(self, document: Mapping[str, Any]) -> None:
        """Write how the run was made; from now on it is."""
        write_json(self.path / "run.json", document)

    def measure(self, name: str) -> dict[str, Any] | None:
        """The kept result of a measure, `{"version", "found"}`, if it is of the present version."""
        kept = read_json(self.path / f"{name}.json")
        return kept if kept and kept.get("version") == MEASURES[name].version else None

    def keep(self, name: str, found: Any) -> None:
        """Write the result of a measure."""
        write_json(self.path / f"{name}.json", {"version": MEASURES[name].version, "found": found})

    def lacks(self, job: Job) -> list[str]:
        """Measures that `job` wants and that are not there."""
        return [name for name in job.measures if self.measure(name) is None]


class Archive:
    """All runs of a study, and of every other study with the same folder."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def shelf(self, job: Job) -> Shelf:
        """The folder of a run, whether or not it is there."""
        return Shelf(self.out / "runs" / job.fingerprint[:16])

    def holds(self, job: Job) -> bool:
        """Whether the run is made and everything that `job` wants is measured."""
        shelf = self.shelf(job)
        return shelf.run is not None and not shelf.lacks(job)

    def record(self, job: Job) -> Record | None:
        """The finished run, or None."""
        shelf = self.shelf(job)
        run, kept = shelf.run, {name: shelf.measure(name) for name in job.measures}
        if run is None or None in kept.values():
            return None
        return Record(job, run, {name: each["found"] for name, each in kept.items() if each}, shelf.path)


def write_json(path: Path, document: Any) -> None:
    """Write `document`, never half of it."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON file, or None where there is none that can be read: it is then made again."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document
