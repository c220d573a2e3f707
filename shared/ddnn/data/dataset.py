"""The data set: N events seen by D devices, in K classes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ddnn.data.checks import pieces
from ddnn.data.split import SPLIT_NAMES
from ddnn.errors import BadData
from ddnn.types import Array, Bools, Ints

__all__ = ["Dataset", "digest"]


@dataclass(frozen=True)
class Dataset:
    """Events of one source, checked against the data contract."""

    name: str
    views: tuple[Array, ...]
    """D arrays (N, *shape_i), uint8 or float32; large ones that a file holds uncompressed are mapped from it."""
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
    """SHA-256 of the whole source's content; a subset of events keeps it, one of devices has another."""
    source: Mapping[str, Any]
    """Arguments of `ddnn.data.load` that give this data set again."""
    division: Mapping[str, Any] = field(default_factory=dict)
    """How the whole source was divided, for reports: who chose `test` and `validation`, their `groups` if groups stay
    whole (else None), and how many `events` each split has."""

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

    def of_devices(self, devices: Sequence[int]) -> "Dataset":
        """Only these devices, in this order; none named, or all in order, is the same data set.

        Every event stays, with its class, even one that none of these devices sees: what a smaller fleet misses, it
        has wrong. Raise `BadData` for an index that is not there or comes twice.
        """
        wanted, count = list(devices), self.devices
        strangers = [device for device in wanted if not 0 <= device < count]
        if strangers:
            raise BadData(f"devices names {strangers[0]}; expected some of 0..{count - 1}, the devices of {self.name}")
        if len(set(wanted)) != len(wanted):
            raise BadData(f"devices is {', '.join(map(str, wanted))}, which names one twice; expected each once")
        if not wanted or wanted == list(range(count)):
            return self
        earlier = self.source.get("devices") or range(count)
        text = f"{self.fingerprint} of devices {','.join(map(str, wanted))}"
        return replace(
            self,
            views=tuple(self.views[device] for device in wanted),
            y_dev=self.y_dev[:, wanted],
            present=self.present[:, wanted],
            grid=None,
            fingerprint=hashlib.sha256(text.encode()).hexdigest(),
            source={**self.source, "devices": [earlier[device] for device in wanted]},
        )


def digest(views: Sequence[Array], y: Ints, y_dev: Ints, present: Bools, classes: Sequence[str]) -> str:
    """SHA-256, in hex, over names, types, shapes and bytes of everything a network can learn from."""
    total = hashlib.sha256("\0".join(classes).encode())
    for array in (*views, y, y_dev, present):
        total.update(f"{array.dtype.str}{array.shape}".encode())
        for part in pieces(array):
            total.update(np.ascontiguousarray(part).data)
    return total.hexdigest()
