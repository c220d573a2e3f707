"""The data set, N events seen by D devices, in K classes; and the checks that every reader's events pass."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from ddnn.data.split import SPLIT_NAMES
from ddnn.errors import BadData
from ddnn.types import Array, Bools, Ints

__all__ = ["Dataset", "Events", "check_visible", "checked", "checked_labels", "checked_view", "name_classes", "pieces"]

PIECE: Final = 2**22  #: elements of views that are looked at at once
MOST_CLASSES: Final = 10_000  #: A larger label is a mistake (an identifier, a time), not a class


@dataclass(frozen=True)
class Events:
    """Events as a source gives them; letters as in `Dataset`."""

    views: tuple[Array, ...]
    y: Ints
    y_dev: Ints
    present: Bools
    classes: tuple[str, ...]
    test: Bools | None = None  #: (N,) the source's own test events, if it names them
    validation: Bools | None = None  #: (N,) the source's own validation events, if it names them
    groups: Array | None = None  #: (N,) what stays whole in a split, if asked for
    grid: tuple[int, int] | None = None

    @classmethod
    def all_seen(
        cls, views: tuple[Array, ...], y: Ints, classes: tuple[str, ...], test: Bools | None = None, **rest: Any
    ) -> "Events":
        """Events that every device sees."""
        y_dev = np.repeat(y[:, None], len(views), axis=1)
        return cls(views, y, y_dev, np.ones_like(y_dev, dtype=bool), classes, test, **rest)


@dataclass(frozen=True)
class Dataset:
    """Events of one source, checked against the data contract."""

    name: str
    views: tuple[Array, ...]
    """D arrays (N, *shape_i), uint8 or float32; large ones that a file holds uncompressed are mapped from it."""
    y: Ints  #: (N,) class of the event
    y_dev: Ints  #: (N, D) class as device i sees it, -1 where it does not see the event's object
    present: Bools  #: (N, D) whether device i has a view at all
    classes: tuple[str, ...]
    split: Array  #: (N,) of `train`, `validation`, `test`
    grid: tuple[int, int] | None  #: (columns, rows) when the views are cut from one image
    index: Ints  #: (N,) row in the source
    fingerprint: str  #: SHA-256 of the whole source's content; a subset of events keeps it, one of devices has another
    source: Mapping[str, Any]  #: arguments of `ddnn.data.load` that give this data set again
    division: Mapping[str, Any] = field(default_factory=dict)
    """For reports: who chose `test` and `validation`, their `groups` if whole (else None), `events` of each split."""

    @classmethod
    def of(cls, name: str, events: Events, split: Array, source: dict[str, Any], division: dict[str, Any]) -> "Dataset":
        """All events of a source; the fingerprint is over names, types, shapes and bytes of what can be learnt from."""
        views, y, y_dev, present, classes = events.views, events.y, events.y_dev, events.present, events.classes
        total = hashlib.sha256("\0".join(classes).encode())
        for array in (*views, y, y_dev, present):
            total.update(f"{array.dtype.str}{array.shape}".encode())
            for part in pieces(array):
                total.update(np.ascontiguousarray(part).data)
        index, value = np.arange(len(y)), total.hexdigest()
        return cls(name, views, y, y_dev, present, classes, split, events.grid, index, value, source, division)

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
        columns = {name: getattr(self, name)[rows] for name in ("y", "y_dev", "present", "split", "index")}
        return replace(self, views=tuple(view[rows] for view in self.views), **columns)

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


def pieces(array: Array) -> Iterator[Array]:
    """An array cut along its first axis, so that one that lies in a file is never in memory as a whole."""
    step = max(PIECE // max(math.prod(array.shape[1:]), 1), 1)
    return (array[start : start + step] for start in range(0, len(array), step))


def checked(name: str, array: Array, kinds: str, shape: tuple[int, ...], what: str) -> Array:
    """An array of `shape` and of one of numpy's `kinds` of type; raise `BadData` with `what` is expected."""
    if array.dtype.kind not in kinds or array.shape != shape:
        raise BadData(f"{name} has type {array.dtype} and shape {array.shape}; expected {what} of shape {shape}")
    return array


def checked_view(name: str, array: Array) -> Array:
    """An array (N, *shape) of views as uint8 or float32; raise `BadData` for any other type, for NaN and infinity."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        raise BadData(f"{name} has type {array.dtype}; expected uint8 (images 0..255) or a float type")
    with np.errstate(over="ignore"):
        view = array.astype(np.float32, copy=False)
    bad = ~np.concatenate([np.isfinite(part).reshape(len(part), -1).all(axis=1) for part in pieces(view)])
    if bad.any():
        where = f"{bad.sum()} events, first in row {bad.argmax()}"
        raise BadData(f"{name} holds NaN or infinity in {where}; expected finite numbers")
    return view


def checked_labels(name: str, array: Array, shape: tuple[int, ...], lowest: int) -> Ints:
    """Integer labels of `shape`, none below `lowest`; whole numbers of a float type are not labels."""
    if array.dtype.kind not in "iu":
        raise BadData(f"{name} has type {array.dtype}; expected integers")
    if array.shape != shape:
        raise BadData(f"{name} has shape {array.shape}; expected {shape}, as many events as the views")
    labels = array.astype(np.int64)
    if labels.min() < lowest or labels.max() >= MOST_CLASSES:
        raise BadData(f"{name} holds {labels.min()}..{labels.max()}; expected {lowest}..{MOST_CLASSES - 1} at most")
    return labels


def name_classes(y: Ints, names: Array | None) -> tuple[str, ...]:
    """K names: the file's `classes`, or the numbers up to the largest label."""
    found = tuple(map(str, range(int(y.max()) + 1)))
    if names is not None:
        if names.ndim != 1 or names.dtype.kind not in "US":
            raise BadData(f"classes has type {names.dtype} and shape {names.shape}; expected text of shape (K,)")
        found = tuple(names.astype(str).tolist())
        if len(set(found)) != len(found):
            raise BadData("classes holds a name twice; expected K different names")
        if y.max() >= len(found):
            raise BadData(f"y holds label {y.max()}; expected 0..{len(found) - 1}, as classes has {len(found)} names")
    if len(np.unique(y)) < 2:
        raise BadData(f"y holds the one class {y[0]}; expected at least 2 classes")
    return found


def check_visible(name: str, array: Array, shape: Sequence[int]) -> Bools:
    """A mask (N, D) in which every event is seen by some device."""
    blind = ~checked(name, array, "b", tuple(shape), "bool").any(axis=1)
    if blind.any():
        where = f"first in row {blind.argmax()}"
        raise BadData(f"{name} has {blind.sum()} events that no device sees, {where}; leave them out")
    return array
