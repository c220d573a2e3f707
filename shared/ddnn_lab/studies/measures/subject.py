"""What is measured: a trained bundle with the data it was trained on."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.evaluation import Decisions, Recorder, Scores, decide, record

__all__ = ["Subject"]


@dataclass(frozen=True)
class Subject:
    """A run's folder and all splits of its data; sections run when a measure first asks for what they say."""

    folder: Path
    """Where the bundle is, and where a measure may put files."""
    data: Dataset
    qualities: tuple[int, ...] = ()
    """JPEG qualities to try."""

    @cached_property
    def bundle(self) -> Bundle:
        """The trained network."""
        return Bundle.open(self.folder / "bundle")

    @cached_property
    def recorder(self) -> Recorder:
        """The device sections' outputs on test."""
        return Recorder(self.bundle, self.test_events)

    @cached_property
    def test_events(self) -> Dataset:
        """The test split."""
        return self.data.subset("test")

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
        return decide(self.test, self.bundle.policy)
