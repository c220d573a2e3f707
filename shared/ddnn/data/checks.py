"""What a reader hands over before the split, and the checks that every reader's events pass."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ddnn.errors import BadData
from ddnn.types import Array, Bools, Ints

__all__ = ["Events", "check_visible", "checked_labels", "checked_view", "name_classes", "pieces"]

PIECE: Final = 2**22
"""Elements of views that are looked at at once."""
MOST_CLASSES: Final = 10_000
"""A larger label is a mistake (an identifier, a time), not a class."""


@dataclass(frozen=True)
class Events:
    """Events as a source gives them; letters as in `Dataset`."""

    views: tuple[Array, ...]
    y: Ints
    y_dev: Ints
    present: Bools
    classes: tuple[str, ...]
    test: Bools | None = None
    """(N,) the source's own test events, if it names them."""
    validation: Bools | None = None
    """(N,) the source's own validation events, if it names them."""
    groups: Array | None = None
    """(N,) what stays whole in a split, if asked for."""
    grid: tuple[int, int] | None = None

    @classmethod
    def all_seen(
        cls, views: tuple[Array, ...], y: Ints, classes: tuple[str, ...], test: Bools | None = None, **rest: Any
    ) -> "Events":
        """Events that every device sees."""
        shape = len(y), len(views)
        y_dev = np.broadcast_to(y[:, None], shape).copy()
        return cls(views, y, y_dev, np.ones(shape, dtype=bool), classes, test, **rest)


def pieces(array: Array) -> Iterator[Array]:
    """An array cut along its first axis, so that one that lies in a file is never in memory as a whole."""
    step = max(PIECE // max(math.prod(array.shape[1:]), 1), 1)
    return (array[start : start + step] for start in range(0, len(array), step))


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
        raise BadData(
            f"{name} holds NaN or infinity in {bad.sum()} events, first in row {bad.argmax()}; expected finite numbers"
        )
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
    if names is None:
        count = int(y.max()) + 1
        found = tuple(map(str, range(count)))
    else:
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
    if array.dtype != np.bool_ or array.shape != tuple(shape):
        raise BadData(f"{name} has type {array.dtype} and shape {array.shape}; expected bool of shape {tuple(shape)}")
    blind = ~array.any(axis=1)
    if blind.any():
        raise BadData(
            f"{name} has {blind.sum()} events that no device sees, first in row {blind.argmax()}; leave them out"
        )
    return array
