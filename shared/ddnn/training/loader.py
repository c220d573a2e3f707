"""What a step learns from: batches of events, read from arrays in memory or from views that stay in a file.

Legend: B events, D devices.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ddnn.data import Dataset
from ddnn.types import Array, Ints

__all__ = ["Batch", "Batches", "Loader"]


class Batch(NamedTuple):
    """Some events, as tensors."""

    views: list[Tensor]
    """D tensors (B, *shape_i), uint8 or float32."""
    y: Tensor
    """(B,) class of each event, int64."""
    y_dev: Tensor
    """(B, D) class as each device sees it, -1 where there is nothing to learn."""
    present: Tensor
    """(B, D) whether each device has a view, bool."""

    def to(self, place: torch.device) -> "Batch":
        """The same on another device; itself where it is there already."""
        return Batch([view.to(place) for view in self.views], *(tensor.to(place) for tensor in self[1:]))


class Batches(Protocol):
    """An epoch's batches: a `Loader`, a list of `Batch`, or any other iterable that knows how many it gives."""

    def __len__(self) -> int:
        """Batches an epoch."""

    def __iter__(self) -> Iterator[Batch]:
        """The batches of one epoch."""


class Loader:
    """Batches of the events of `data` at `rows`, in a new random order each time it is iterated over.

    Order comes from torch's global generator, so `torch.manual_seed` before an epoch makes it. Each batch is read from
    the views when its turn comes: views that stay in a file (`ddnn.data.load`) are never in memory as a whole.
    """

    def __init__(self, data: Dataset, rows: Ints, *, batch: int, place: torch.device | None = None) -> None:
        self.place = place or torch.device("cpu")
        self._rows, self._steps = rows, max(len(rows) // batch, 1)
        self._views = [self._source(view, rows) for view in data.views]
        self._y, self._y_dev, self._present = (
            torch.from_numpy(array[rows]).to(self.place) for array in (data.y, learnt(data), data.present)
        )

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self._y), device=self.place)
        for picked in order.tensor_split(self._steps):
            views = [self._read(view, picked) for view in self._views]
            yield Batch(views, self._y[picked], self._y_dev[picked], self._present[picked])

    def _source(self, view: Array, rows: Ints) -> Array | Tensor:
        """What batches are cut from: memory, the GPU's where there is one, unless the view stays in its file."""
        if isinstance(view, np.memmap):
            return view
        return torch.from_numpy(view[rows]).to(self.place)

    def _read(self, view: Array | Tensor, picked: Tensor) -> Tensor:
        if isinstance(view, Tensor):
            return view[picked]
        return torch.from_numpy(np.asarray(view[self._rows[picked.cpu().numpy()]])).to(self.place)


def learnt(data: Dataset) -> Ints:
    """(N, D) what each device learns: its own class, -1 where it has no view."""
    return np.where(data.present, data.y_dev, -1)


def batch_of(data: Dataset) -> Batch:
    """All events of `data` as one batch."""
    views = [torch.from_numpy(np.ascontiguousarray(view)) for view in data.views]
    return Batch(views, *(torch.from_numpy(array) for array in (data.y, learnt(data), data.present)))
