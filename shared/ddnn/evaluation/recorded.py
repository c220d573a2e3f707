"""Recorded scores as a file: one `.npz` of plain arrays with all splits, made once, read by whoever studies thresholds.

Its arrays are `about`, a JSON text, and `validation.cloud`, `validation.present`, `validation.y` …, so for each split.
Legend: N events, D devices, E edges, K classes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from ddnn.bundle import Bundle
from ddnn.data.npz import Archive
from ddnn.errors import BadData
from ddnn.evaluation.scores import Scores
from ddnn.seal import write_atomically
from ddnn.topology import Topology
from ddnn.types import Array, Exit

__all__ = ["Recorded", "check"]

_FORMAT: Final = 1
_ABOUT: Final = "about"
_KNOWN: Final[dict[str, type]] = {"bundle": str, "name": str, "classes": list, "topology": dict, "splits": dict}


@dataclass(frozen=True, slots=True)
class Recorded:
    """Every exit's scores on some splits of one data set, and whose they are."""

    bundle: str
    """Fingerprint of the bundle whose scores these are."""
    name: str
    """That bundle's name."""
    classes: tuple[str, ...]
    """K names."""
    splits: Mapping[str, Scores]
    """By name: `validation`, `test` …; all of one topology."""

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
            arrays |= {f"{split}.{name}": array for name, array in _arrays(scores).items()}
        about = {
            "format": _FORMAT,
            "bundle": self.bundle,
            "name": self.name,
            "classes": list(self.classes),
            "topology": next(iter(self.splits.values())).topology.model_dump(mode="json"),
            "splits": {split: dict(scores.source) for split, scores in self.splits.items()},
        }

        arrays[_ABOUT] = np.array(json.dumps(about))

        def write(part: Path) -> None:
            with part.open("wb") as file:  # an open file: by name, numpy would add its own ending
                np.savez(file, **arrays)

        write_atomically(path, write)

    @classmethod
    def load(cls, path: Path, bundle: Bundle | None = None) -> "Recorded":
        """Read a file that `save` wrote, of `bundle` if one is given; raise `BadData` saying what is wrong."""
        try:
            stream = path.open("rb")
        except OSError as error:
            raise BadData(f"{path} cannot be read ({error.strerror}); expected a file made by `ddnn record`") from error
        with stream:
            archive = Archive(path, stream)
            about, topology = _about(archive)
            if bundle is not None and about["bundle"] != bundle.fingerprint:
                raise BadData(
                    f"{path} holds the scores of bundle {about['name']} ({about['bundle'][:12]});"
                    f" this one is {bundle.manifest.name} ({bundle.fingerprint[:12]})"
                )
            splits = {name: _scores(archive, name, topology, source) for name, source in about["splits"].items()}
        for scores in splits.values():
            check(scores, len(about["classes"]))
        return cls(about["bundle"], about["name"], tuple(about["classes"]), splits)


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
    }
    if not count:
        raise BadData(f"{split}.y is empty; expected at least one event")
    for name, array in _arrays(scores).items():
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


def _arrays(scores: Scores) -> dict[str, Array]:
    exits = {exit.value: scores.of(exit) for exit in scores.topology.exits}
    return exits | {"present": scores.present, "y": scores.y, "y_dev": scores.y_dev}


def _about(archive: Archive) -> tuple[dict[str, Any], Topology]:
    path = archive.path
    if _ABOUT not in archive:
        raise BadData(f"{path} has no array {_ABOUT!r}; expected a file made by `ddnn record`")
    try:
        about = json.loads(str(archive[_ABOUT]))
        if not isinstance(about, dict) or about.get("format") != _FORMAT:
            raise ValueError(f"it is not of format {_FORMAT}")
        for key, kind in _KNOWN.items():
            if not isinstance(about.get(key), kind):
                raise ValueError(f"{key} is {about.get(key)!r}")
        if not about["splits"] or not all(isinstance(source, dict) for source in about["splits"].values()):
            raise ValueError("it names no splits")
        for split, source in about["splits"].items():
            if not all(isinstance(source.get(key), str) for key in ("data", "fingerprint", "split")):
                raise ValueError(f"it does not say where the {split} split is from")
        return about, Topology.model_validate(about["topology"])
    except (ValueError, RecursionError) as error:
        said = str(error.errors()[0]["msg"]) if isinstance(error, ValidationError) else str(error)
        raise BadData(f"{path}: {_ABOUT} cannot be understood ({said}); record the scores again") from error


def _scores(archive: Archive, split: str, topology: Topology, source: Mapping[str, Any]) -> Scores:
    def array(name: str) -> Array:
        if f"{split}.{name}" not in archive:
            raise BadData(f"{archive.path} has no array '{split}.{name}'; expected a file made by `ddnn record`")
        return archive[f"{split}.{name}"]

    def exit_scores(exit: Exit) -> Array | None:
        return array(exit.value) if exit in topology.exits else None

    return Scores(
        device=exit_scores(Exit.DEVICE),
        local=exit_scores(Exit.LOCAL),
        edge=exit_scores(Exit.EDGE),
        cloud=array("cloud"),
        present=array("present"),
        y=array("y"),
        y_dev=array("y_dev"),
        topology=topology,
        source=source,
    )
