"""Recorded scores as a file: one `.npz` of plain arrays with all splits, made once, to study thresholds on.

Its arrays are `about`, a JSON text, and `validation.cloud`, `validation.present`, `validation.y` …, so for each split.
Legend: N events, D devices, E edges, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ddnn.archive import Archive
from ddnn.bundle import Bundle
from ddnn.errors import BadData
from ddnn.evaluation.scores import Scores
from ddnn.seal import first_problem, write_atomically
from ddnn.topology import Topology
from ddnn.types import Array, Exit

__all__ = ["Recorded", "check"]

_ABOUT: Final = "about"


class _Source(BaseModel):
    """Where the events of a split are from."""

    model_config = ConfigDict(extra="allow")
    data: str
    fingerprint: str
    split: str


class _About(BaseModel):
    """What a file says of itself."""

    format: Literal[1] = 1
    bundle: str
    name: str
    classes: tuple[str, ...]
    topology: Topology
    splits: dict[str, _Source] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Every exit's scores on some splits of one data set, and whose they are."""

    bundle: str  #: fingerprint of the bundle whose scores these are
    name: str  #: that bundle's name
    classes: tuple[str, ...]  #: K names
    splits: Mapping[str, Scores]  #: by name: `validation`, `test` …; all of one topology

    @classmethod
    def of(cls, bundle: Bundle, splits: Mapping[str, Scores]) -> "Recorded":
        """What `ddnn.evaluation.record` gave for `bundle` on each split."""
        return cls(bundle.fingerprint, bundle.manifest.name, bundle.manifest.classes, splits)

    def split(self, name: str) -> Scores:
        """The scores of one split; raise `BadData` when it was not recorded."""
        if name not in self.splits:
            raise BadData(f"the recorded scores have no {name} split; they have {', '.join(self.splits)}")
        return self.splits[name]

    def save(self, path: Path) -> None:
        """Write the file `path`, atomically; raise `BadData` for scores that would be refused when read."""
        arrays: dict[str, Any] = {}
        for split, scores in self.splits.items():
            check(scores, len(self.classes))
            arrays |= {f"{split}.{name}": array for name, array in scores.arrays().items()}
        about = _About(
            bundle=self.bundle,
            name=self.name,
            classes=self.classes,
            topology=next(iter(self.splits.values())).topology,
            splits={split: _Source(**scores.source) for split, scores in self.splits.items()},
        )
        arrays[_ABOUT] = np.array(about.model_dump_json())

        def write(part: Path) -> None:
            with part.open("wb") as file:  # an open file: by name, numpy would add its own ending
                np.savez(file, **arrays)

        write_atomically(path, write)

    @classmethod
    def load(cls, path: Path, bundle: Bundle | None = None) -> "Recorded":
        """Read a file that `save` wrote, of `bundle` if one is given; raise `BadData` saying what is wrong."""
        with Archive(path) as archive:
            about = _about(archive)
            if bundle is not None and about.bundle != bundle.fingerprint:
                raise BadData(
                    f"{path} holds the scores of bundle {about.name} ({about.bundle[:12]});"
                    f" this one is {bundle.manifest.name} ({bundle.fingerprint[:12]})"
                )
            splits = {split: _scores(archive, split, about) for split in about.splits}
        for scores in splits.values():
            check(scores, len(about.classes))
        return cls(about.bundle, about.name, about.classes, splits)


def check(scores: Scores, classes: int | None = None) -> None:
    """Raise `BadData`, naming the array, what it has and what is expected, unless `scores` can be decided on.

    All arrays are of one number of events, of the topology's devices and edges, of one number of classes, which is
    `classes` if that is given; scores are finite wherever somebody took part.
    """
    topology, split, count = scores.topology, scores.source.get("split", "scores"), len(scores)
    kinds = classes or scores.cloud.shape[-1]
    devices, edges = len(topology.devices), len(topology.edges)
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "device": ((count, devices, kinds), np.float32),
        "local": ((count, edges, kinds), np.float32),
        "edge": ((count, edges, kinds), np.float32),
        "cloud": ((count, kinds), np.float32),
        "present": ((count, devices), np.bool_),
        "y": ((count,), np.int64),
        "y_dev": ((count, devices), np.int64),
        "view_bytes": ((count, devices), np.int64),
    }
    if not count:
        raise BadData(f"{split}.y is empty; expected at least one event")
    for name, array in scores.arrays().items():
        shape, kind = shapes[name]
        if array.shape != shape or array.dtype != kind:
            raise BadData(
                f"{split}.{name} is {array.dtype} {array.shape}; expected {np.dtype(kind)} {shape},"
                f" of {devices} devices, {edges} edges and {kinds} classes"
            )
    for exit in topology.exits:
        bad = ~np.isfinite(scores.of(exit)).all(axis=-1) & scores.there(exit)
        if bad.any():
            raise BadData(f"{split}.{exit} is not finite in row {int(np.argwhere(bad)[0][0])}; expected finite scores")
    for name, array, lowest in (("y", scores.y, 0), ("y_dev", scores.y_dev, -1)):
        if array.min() < lowest or array.max() >= kinds:
            wrong = array.min() if array.min() < lowest else array.max()
            raise BadData(f"{split}.{name} holds class {wrong}; expected {lowest} to {kinds - 1}")


def _array(archive: Archive, name: str) -> Array:
    if name not in archive:
        raise BadData(f"{archive.path} has no array {name!r}; expected a file made by `ddnn record`")
    return archive[name]


def _about(archive: Archive) -> _About:
    try:
        return _About.model_validate_json(str(_array(archive, _ABOUT)))
    except ValidationError as error:
        why = first_problem(error, _ABOUT)
        raise BadData(f"{archive.path}: {_ABOUT} cannot be understood ({why}); record the scores again") from error


def _scores(archive: Archive, split: str, about: _About) -> Scores:
    arrays: dict[str, Any] = {exit.value: None for exit in Exit}
    for name in (*(exit.value for exit in about.topology.exits), "present", "y", "y_dev"):
        arrays[name] = _array(archive, f"{split}.{name}")
    views = about.topology.views
    if views and about.topology.codec(views).datatype == "BYTES":
        arrays["view_bytes"] = _array(archive, f"{split}.view_bytes")
    return Scores(**arrays, topology=about.topology, source=about.splits[split].model_dump())
