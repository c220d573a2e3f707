"""The data set, N events seen by D devices, in K classes; and the checks that every reader's events pass."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from ddnn.data.moments import finite_moments
from ddnn.data.split import SPLIT_NAMES
from ddnn.data.stored import rows_of
from ddnn.errors import BadData
from ddnn.picture import Picture
from ddnn.types import Array, Bools, Ints

__all__ = [
    "Dataset",
    "Events",
    "check_visible",
    "checked",
    "checked_labels",
    "checked_view",
    "name_classes",
    "numbered",
    "pieces",
]

PIECE: Final = 2**22  #: elements of views that are looked at at once
ROUNDED: Final = 0.1  #: of what a channel varies, more of which may not be lost to float32
STILL: Final = 1e-14  #: share of its mean up to which what a float64 varies is rounding itself
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
    devices: tuple[str, ...] = ()  #: their names, where the source has some
    picture: Picture | None = None  #: how photographs became views
    odd: tuple[str, ...] = ()  #: files that are left out, each with the reason
    names: Array | None = None  #: (N,) what the source calls each event, text
    unlabelled: int = 0  #: events of the source that have no label, and are not among these

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
    """D arrays (N, *shape_i), uint8 or float32, in which NaN and infinity are missing numbers.

    Large ones that a file holds uncompressed are mapped from it; of photographs they are `Stored`, and `take` leaves
    them where they are.
    """
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
    groups: Array | None = None
    """(N,) what stayed whole in the split, if asked for."""
    picture: Picture | None = None
    """How its photographs became views, if it is made of some."""
    odd: tuple[str, ...] = ()
    """Files of the source that are left out, each with the reason."""
    names: Array | None = None
    """(N,) what the source calls each event, if it has names for them: text."""
    unlabelled: int = 0
    """Events of the source that are left out, as they have no label."""
    part: Ints | None = None
    """(N,) which of `parts` each event is of, where several data sets are mixed."""
    parts: tuple[str, ...] = ()
    """Names of those."""

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
        return cls(
            name,
            views,
            y,
            y_dev,
            present,
            classes,
            split,
            events.grid,
            index,
            value,
            source,
            division,
            events.groups,
            events.picture,
            events.odd,
            events.names,
            events.unlabelled,
        )

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
        named = ("groups", self.groups), ("names", self.names), ("part", self.part)
        columns |= {name: column[rows] for name, column in named if column is not None}
        return replace(self, views=tuple(rows_of(view, rows) for view in self.views), **columns)

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


def checked_view(name: str, array: Array, *, devices: bool = False) -> Array:
    """Views (N, *shape), or (N, D, *shape) of all `devices`, as uint8 or float32; NaN and infinity count as missing.

    uint8 is an image's bytes; bool is 0 and 1 of that type; other numbers become float32. Raise `BadData` for what is
    no number, where none is there, and where float32 would round away what tells events apart.
    """
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iuf":
        raise BadData(f"{name} has type {array.dtype}; expected numbers: uint8 (images 0..255), integers, floats, bool")
    if array.dtype.itemsize > 4 or array.dtype.kind != "f":
        _refuse_rounding(name, array, 2 if devices else 1)
    with np.errstate(over="ignore"):
        view = array.astype(np.float32, copy=False)
    if view.dtype.kind == "f" and not any(np.isfinite(part).any() for part in pieces(view)):
        raise BadData(f"{name} holds NaN or infinity alone; expected numbers, NaN where one is missing")
    return view


def _refuse_rounding(name: str, array: Array, channel: int) -> None:
    """Raise `BadData` if a channel, by axes 1 … `channel`, loses more to float32 than a tenth of what it varies."""
    values = array[:: max(array.size // PIECE, 1)].astype(np.float64)
    axes = (0, *range(channel + 1, values.ndim))
    values[~np.isfinite(values)] = np.nan
    with np.errstate(over="ignore", under="ignore"):
        lost = values.astype(np.float32).astype(np.float64) - values
    if np.isinf(lost).any():
        expected = f"expected numbers up to {np.finfo(np.float32).max:.2g}, as float32 has them"
        raise BadData(f"{name} holds {values[np.isinf(lost)][0]:g}; {expected}")
    (_, mean, spread), (_, _, off) = finite_moments(values, axes), finite_moments(lost, axes)
    bad = (off > ROUNDED * spread) & (spread > STILL * abs(mean))
    if bad.any():
        at = tuple(int(index[0]) for index in np.nonzero(bad))
        where = f"device {at[0]}, channel {at[1]}" if channel == 2 else f"channel {at[0]}"
        raise BadData(
            f"{name} holds {mean[at]:.6g} ± {spread[at]:.2g} in {where}, which float32, the type of a served view, "
            "cannot tell apart; expected an offset or factor of your own taken out first, at serving too"
        )


def checked_labels(name: str, array: Array, shape: tuple[int, ...], lowest: int) -> Ints:
    """Integer labels of `shape`, none below `lowest`; whole numbers of a float type are not labels."""
    if array.dtype.kind not in "iu":
        hint = f"; if they are whole, {name}.astype(int) makes them so" if array.dtype.kind == "f" else ""
        raise BadData(f"{name} has type {array.dtype}; expected integers{hint}")
    if array.shape != shape:
        raise BadData(f"{name} has shape {array.shape}; expected {shape}, as many events as the views")
    labels = array.astype(np.int64)
    if labels.min() < lowest or labels.max() >= MOST_CLASSES:
        raise BadData(f"{name} holds {labels.min()}..{labels.max()}; expected {lowest}..{MOST_CLASSES - 1} at most")
    return labels


def numbered(y: Array, names: Array | None) -> tuple[Array, Array | None]:
    """Labels and names of classes; of labels that are text, their places among the names, or in the alphabet."""
    if y.dtype.kind == "b":
        return y.astype(np.int64), names
    if y.dtype.kind not in "US" or y.ndim != 1:
        return y, names
    text = y.astype(str)
    if names is None:
        found, places = np.unique(text, return_inverse=True)
        return places, found
    known = {name: place for place, name in reversed([*enumerate(names.astype(str).ravel().tolist())])}
    strangers = sorted(set(text.tolist()) - known.keys())
    if strangers:
        raise BadData(f"y holds {strangers[0]!r}; expected some of classes: {', '.join(list(known)[:12])}")
    return np.array([known[label] for label in text.tolist()]), names


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
