"""What is measured: a trained bundle with the data it was trained on; and its scores kept in files."""

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from ddnn.archive import Archive
from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.errors import BadData
from ddnn.evaluation import Decisions, Recorder, Scores, decide, record
from ddnn.policy import Policy
from ddnn.seal import write_atomically
from ddnn.types import Exit

__all__ = ["Subject", "keep_scores", "kept_scores"]

ARRAYS: Final = ("device", "local", "edge", "cloud", "present", "y", "y_dev")
KEPT: Final = "scores-{}.npz"  #: the file of a split's scores


@dataclass(frozen=True)
class Subject:
    """A run's folder and all splits of its data; sections run when a measure first asks for their outputs."""

    folder: Path  #: where the bundle is, and where a measure may put files
    data: Dataset
    qualities: tuple[int, ...] = ()  #: JPEG qualities to try
    pictures: tuple[tuple[str, int, int], ...] = ()  #: kinds of pictures to try: format, size, quality

    @cached_property
    def bundle(self) -> Bundle:
        """The trained network."""
        return Bundle.open(self.folder / "bundle")

    @property
    def policy(self) -> Policy:
        """Its thresholds and temperatures."""
        return self.bundle.policy

    @property
    def exits(self) -> list[Exit]:
        """The fused exits, which speak for the event: all but the devices' own."""
        return [exit for exit in self.bundle.topology.exits if exit is not Exit.DEVICE]

    @cached_property
    def test_events(self) -> Dataset:
        """The test split."""
        return self.data.subset("test")

    @cached_property
    def recorder(self) -> Recorder:
        """The device sections' outputs on test."""
        return Recorder(self.bundle, self.test_events)

    @cached_property
    def test(self) -> Scores:
        """Every exit on test."""
        return self.recorder.scores()

    @cached_property
    def validation(self) -> Scores:
        """Every exit on validation."""
        return record(self.bundle, self.data.subset("validation"))

    @cached_property
    def decisions(self) -> Decisions:
        """The answers on test under the bundle's policy."""
        return decide(self.test, self.policy)


def keep_scores(subject: Subject) -> dict[str, Any]:
    """Write `scores-validation.npz` and `scores-test.npz` into the run's folder: fleets are made of several runs."""
    for split, scores in (("validation", subject.validation), ("test", subject.test)):
        arrays = {name: array for name in ARRAYS if (array := getattr(scores, name)) is not None}
        write_atomically(subject.folder / KEPT.format(split), partial(np.savez, allow_pickle=False, **arrays))
    return {"events": len(subject.test)}


def kept_scores(folder: Path, split: str) -> Scores:
    """The scores that were kept of a run; raise `BadData` where the file is gone or damaged."""
    path = folder / KEPT.format(split)
    try:
        with Archive(path) as file:
            arrays: dict[str, Any] = {name: file.get(name) for name in ARRAYS}
    except BadData as error:
        again = "without scores.json beside it, it is made again"
        raise BadData(f"{path} cannot be read ({error}); {again}") from error
    return Scores(**arrays, topology=Bundle.open(folder / "bundle").topology, source={"split": split})
