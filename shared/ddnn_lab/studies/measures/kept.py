"""Every exit's scores kept in a file, for what is put together of several networks."""

from functools import partial
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from ddnn.bundle import Bundle
from ddnn.errors import BadData
from ddnn.evaluation import Scores
from ddnn.seal import write_atomically
from ddnn_lab.studies.measures.subject import Subject

__all__ = ["keep_scores", "kept_scores"]

ARRAYS: Final = ("device", "local", "edge", "cloud", "present", "y", "y_dev")


def keep_scores(subject: Subject) -> dict[str, Any]:
    """Write `scores-validation.npz` and `scores-test.npz` into the run's folder."""
    for split, scores in (("validation", subject.validation), ("test", subject.test)):
        arrays = {name: getattr(scores, name) for name in ARRAYS}
        there = {name: array for name, array in arrays.items() if array is not None}
        write_atomically(_file(subject.folder, split), partial(np.savez, allow_pickle=False, **there))
    return {"events": len(subject.test)}


def kept_scores(folder: Path, split: str) -> Scores:
    """The scores that were kept of a run; raise `BadData` where the file is gone or damaged."""
    path = _file(folder, split)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, Any] = {name: file.get(name) for name in ARRAYS}
    except (OSError, ValueError, BadZipFile) as error:
        again = "without scores.json beside it, it is made again"
        raise BadData(f"{path} cannot be read ({error}); {again}") from error
    return Scores(**arrays, topology=Bundle.open(folder / "bundle").topology, source={"split": split})


def _file(folder: Path, split: str) -> Path:
    return folder / f"scores-{split}.npz"
