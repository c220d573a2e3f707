"""A `.npz` file of events that are being labelled: one that `ddnn train` reads, whose labels change."""

import csv
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from ddnn.archive import Archive
from ddnn.data.split import TEST_SHARE, VALIDATION_SHARE
from ddnn.errors import BadData, BadInput
from ddnn.types import Array, Ints

__all__ = ["ABOUT", "Labelled", "read_labels"]

ABOUT: Final = ("event", "kind", "answer", "exit", "confidence", "at")
"""Arrays (N,) of what is known of each event beside its views."""
_PARTS: Final = {"train": 1 - TEST_SHARE - VALIDATION_SHARE, "test": TEST_SHARE, "validation": VALIDATION_SHARE}


@dataclass(frozen=True)
class Labelled:
    """Events with what was said of them, some labelled; N events, D devices."""

    views: tuple[Array, ...]  #: D arrays (N, …); nothing where a device is not `visible`
    visible: Array  #: (N, D) bool
    y: Ints  #: (N,) class, -1 where there is no label
    classes: tuple[str, ...]
    split: Array  #: (N,) of `train`, `validation`, `test`: once labelled, an event stays in its part
    about: Mapping[str, Array]  #: by name in `ABOUT`

    @classmethod
    def fresh(cls, views: tuple[Array, ...], visible: Array, classes: tuple[str, ...], **about: Array) -> "Labelled":
        """Events without labels."""
        count = len(visible)
        return cls(views, visible, np.full(count, -1, np.int64), classes, np.full(count, "train", "<U10"), about)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def events(self) -> list[str]:
        """Ids, as text."""
        return [str(name) for name in self.about["event"].tolist()]

    @property
    def left(self) -> int:
        """How many have no label."""
        return int((self.y < 0).sum())

    @classmethod
    def read(cls, path: Path) -> "Labelled":
        """Raise `BadData` for a file that `ddnn doubts export` has not made."""
        if not path.exists():
            raise BadData(f"{path} does not exist; expected a file that `ddnn doubts export` made")
        with Archive(path) as archive:
            if missing := [name for name in ("y", "split", "visible", "classes", *ABOUT) if name not in archive]:
                raise BadData(f"{missing[0]} is missing from {path}; expected a file that `ddnn doubts export` made")
            visible = archive["visible"]
            names = [f"X_{device}" for device in range(visible.shape[1] if visible.ndim == 2 else 0)]
            if not names or any(name not in archive for name in names):
                raise BadData(f"{path} has no views for some of its devices; expected X_0 and so on, one a device")
            classes = tuple(map(str, archive["classes"].tolist()))
            views = tuple(archive[name] for name in names)
            y, split = archive["y"].astype(np.int64), archive["split"].astype("<U10")
            about = {name: archive[name] for name in ABOUT}
        if any(len(array) != len(y) for array in (visible, split, *views, *about.values())):
            raise BadData(f"{path} has arrays of unequal length; expected one entry an event in each")
        if len(y) and not (y.min() >= -1 and y.max() < len(classes)):
            raise BadData(f"y holds {y.min()}..{y.max()}; expected -1..{len(classes) - 1}")
        return cls(views, visible, y, classes, split, about)

    def write(self, path: Path) -> None:
        """Write the whole file, then put it in the place of what is there."""
        views: dict[str, Any] = {f"X_{device}": view for device, view in enumerate(self.views)}
        rest: dict[str, Any] = {"visible": self.visible, "y": self.y, "split": self.split, **self.about}
        rest["classes"] = np.array(self.classes)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                np.savez(file, **views, **rest)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise

    def joined(self, newer: "Labelled") -> "Labelled":
        """These, and after them those of `newer` that are not here; raise `BadData` where no network takes both."""
        if newer.classes != self.classes:
            found = f"classes {', '.join(self.classes[:4])} … and {', '.join(newer.classes[:4])} …"
            raise BadData(f"these are {found}; expected events of one network in one file")
        pairs = list(zip(self.views, newer.views, strict=False))
        if len(self.views) != len(newer.views) or any(a.shape[1:] != b.shape[1:] for a, b in pairs):
            raise BadData("these events have views of other shapes; expected events of one network in one file")
        known = set(self.events)
        rows = [row for row, event in enumerate(newer.events) if event not in known]
        return Labelled(
            tuple(np.concatenate([old, new[rows]]) for old, new in pairs),
            np.concatenate([self.visible, newer.visible[rows]]),
            np.concatenate([self.y, newer.y[rows]]),
            self.classes,
            np.concatenate([self.split, newer.split[rows]]),
            {name: np.concatenate([self.about[name], newer.about[name][rows]]) for name in ABOUT},
        )

    def set(self, labels: Iterable[tuple[str, str]]) -> tuple["Labelled", int]:
        """With these labels, each an event and a class by name or number, or nothing; and how many have changed.

        Raise `BadInput` naming the first event or class that is not here.
        """
        rows = {event: row for row, event in enumerate(self.events)}
        y = self.y.copy()
        for event, label in labels:
            if event not in rows:
                raise BadInput(f"the event {event[:80]!r} is not in this file; it holds {len(self)}")
            y[rows[event]] = self.class_of(label)
        split = self.split.copy()
        for row in np.flatnonzero((self.y < 0) & (y >= 0)).tolist():
            split[row] = self._part(y, split, row)
        return replace(self, y=y, split=split), int((y != self.y).sum())

    def _part(self, y: Ints, split: Array, row: int) -> str:
        """Where an event that gets its label goes: of its class, the part that is furthest behind its share."""
        known = (y == y[row]) & (self.y >= 0)
        known[:row] |= y[:row] == y[row]  # those that got theirs with it
        known[row] = False
        total = int(known.sum()) + 1
        return max(_PARTS, key=lambda part: _PARTS[part] * total - int((split[known] == part).sum()))

    def class_of(self, label: str) -> int:
        """The number of a class by its name or, where no class is so called, its number; -1 for nothing."""
        if not label:
            return -1
        if label in self.classes:
            return self.classes.index(label)
        if label.isascii() and label.isdigit() and int(label) < len(self.classes):
            return int(label)
        raise BadInput(f"the class is {label[:40]!r}; expected one of {', '.join(self.classes[:12])}")


def read_labels(path: Path) -> Sequence[tuple[str, str]]:
    """Labels in a CSV file with the columns `event` and `label`; raise `BadInput`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"event", "label"} <= set(reader.fieldnames or ()):
                found = ", ".join(reader.fieldnames or ()) or "nothing"
                raise BadInput(f"{path} has the columns {found}; expected event and label")
            return [(row["event"] or "", (row["label"] or "").strip()) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} cannot be read ({error}); expected a CSV file with event and label") from error
