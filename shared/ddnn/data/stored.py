"""Views that stay in a file: rows are read when they are asked for, so that a data set may be larger than memory."""

import math
import operator
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final, SupportsIndex, cast

import numpy as np

from ddnn.types import Array, Ints

__all__ = ["Stored", "at_once", "in_file", "rows_of"]

ROOM: Final = 2**23  #: numbers of all views of the events that are looked at together, at most


@dataclass(frozen=True)
class Stored:
    """Views (N, *shape) of one device, in a file of uint8 views; what is indexed is read, and is an array.

    Read, not mapped: pages of a map would count as memory of the process.
    """

    file: Path
    offset: int  #: of the view in row 0
    step: int  #: bytes from one row to the next
    inner: tuple[int, ...]  #: shape of a view
    index: Ints  #: (N,) the rows in the file

    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *shape)."""
        return (len(self.index), *self.inner)

    @property
    def ndim(self) -> int:
        """Axes, events with them."""
        return 1 + len(self.inner)

    @property
    def size(self) -> int:
        """Numbers of all views."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all views."""
        return self.size

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: Any) -> Array:
        if isinstance(rows, SupportsIndex) and not isinstance(rows, np.ndarray):
            view: Array = self._read(self.index[operator.index(rows)][None])[0]
            return view
        return self._read(self.index[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        views = self._read(self.index)
        return views if dtype is None else np.asarray(views, dtype)

    def take(self, rows: Array) -> "Stored":
        """The views at `rows`, still in the file."""
        return replace(self, index=self.index[rows])

    def _read(self, index: Ints) -> Array:
        size = math.prod(self.inner)
        views = np.empty((len(index), size), self.dtype)
        with self.file.open("rb", buffering=0) as file:
            for view, row in zip(views, index.tolist(), strict=True):
                if os.preadv(file.fileno(), [view.data], self.offset + row * self.step) != size:
                    raise OSError(f"{self.file} ends before row {row}; expected it as it was written")
        return views.reshape(len(index), *self.inner)


def in_file(view: Array) -> bool:
    """Whether views stay in a file, and rows of them are read, rather than all in memory."""
    return isinstance(view, np.memmap | Stored)


def rows_of(view: Array, rows: Array | Sequence[int]) -> Array:
    """Views (N, *shape) at some rows; those that are stored stay so."""
    # `Stored` is no numpy array, and has of one all that is asked of views.
    return cast(Array, view.take(np.asarray(rows))) if isinstance(view, Stored) else view[rows]


def at_once(views: Iterable[Any], most: int) -> int:
    """How many events to look at together: `most`, or fewer where their views are large, at least one."""
    numbers: int = sum(math.prod(view.shape[1:]) for view in views)
    return max(min(most, ROOM // max(numbers, 1)), 1)
