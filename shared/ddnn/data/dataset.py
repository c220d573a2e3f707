"""The data set: N events seen by D devices, in K classes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ddnn.data.split import SPLIT_NAMES
from ddnn.errors import BadData
from ddnn.types import Array, Bools, Ints

__all__ = ["Dataset", "digest"]


@dataclass(frozen=True)
class Dataset:
    """Events of one source, checked against the data contract."""

    name: str
    views: tuple[Array, ...]
    """D arrays (N, *shape_i), uint8 or float32."""
    y: Ints
    """(N,) class of the event."""
    y_dev: Ints
    """(N, D) class as device i sees it, -1 where it does not see the event's object."""
    present: Bools
    """(N, D) whether device i has a view at all."""
    classes: tuple[str, ...]
    split: Array
    """(N,) of `train`, `validation`, `test`."""
    grid: tuple[int, int] | None
    """(columns, rows) when the views are cut from one image."""
    index: Ints
    """(N,) row in the source."""
    fingerprint: str
    """SHA-256 of the whole source's content; a subset keeps it."""
    source: Mapping[str, Any]
    """Arguments of `ddnn.data.load` that give this data set again."""

    def __len__(self) -> int:
        return len(self.y)

    @property
    def devices(self) -> int:
        """D."""
        return len(self.views)

    def subset(self, split: str) -> "Dataset":
        """The events of one split, in order; raise `BadData` when there are none."""
        if split not in SPLIT_NAMES:
            raise BadData(f"split is {split!r}; expected one of {', '.join(SPLIT_NAMES)}")
        rows = np.flatnonzero(self.split == split)
        if not len(rows):
            raise BadData(f"{self.name} has no {split} events")
        return self.take(rows)

    def take(self, rows: Array | Sequence[int]) -> "Dataset":
        """The events at `rows`, in that order."""
        rows = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            views=tuple(view[rows] for view in self.views),
            y=self.y[rows],
            y_dev=self.y_dev[rows],
            present=self.present[rows],
            split=self.split[rows],
            index=self.index[rows],
        )


def digest(views: Sequence[Array], y: Ints, y_dev: Ints, present: Bools, classes: Sequence[str]) -> str:
    """SHA-256, in hex, over names, types, shapes and bytes of everything a network can learn from."""
    total = hashlib.sha256("\0".join(classes).encode())
    for array in (*views, y, y_dev, present):
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
