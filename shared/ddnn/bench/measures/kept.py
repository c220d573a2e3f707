"""Every exit's scores kept in a file, for what is put together of several networks."""

from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from ddnn.bench.measures.subject import Subject
from ddnn.bundle import Bundle
from ddnn.evaluation import Scores
from ddnn.seal import write_atomically

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
    """The scores that were kept of a run."""
    with np.load(_file(folder, split), allow_pickle=False) as file:
        arrays: dict[str, Any] = {name: file.get(name) for name in ARRAYS}
    return Scores(**arrays, topology=Bundle.open(folder / "bundle").topology, source={"split": split})


def _file(folder: Path, split: str) -> Path:
    return folder / f"scores-{split}.npz"
