"""What a step learns from: batches of events, from memory or a file, and small random changes of them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ddnn.data import Dataset
from ddnn.data.stored import in_file
from ddnn.training.config import TrainingConfig
from ddnn.types import Array, Ints

__all__ = ["Batch", "Batches", "Loader", "Part", "augment", "batch_of", "drop_devices", "join", "standing_in"]

KNOTS: Final = 4  #: displacements of a warp along each side of an image


class Batch(NamedTuple):
    """Some events, as tensors."""

    views: list[Tensor]  #: D tensors (B, *shape_i), uint8 or float32
    y: Tensor  #: (B,) class of each event, int64
    y_dev: Tensor  #: (B, D) class as each device sees it, -1 where there is nothing to learn
    present: Tensor  #: (B, D) whether each device has a view, bool

    def to(self, place: torch.device) -> "Batch":
        """The same on another device; itself where it is there already."""
        return Batch([view.to(place) for view in self.views], *(tensor.to(place) for tensor in self[1:]))

    def cut(self, parts: int) -> Iterator["Batch"]:
        """The same in as many parts."""
        views = zip(*(view.tensor_split(parts) for view in self.views), strict=True)
        labels = zip(*(tensor.tensor_split(parts) for tensor in self[1:]), strict=True)
        return (Batch(list(some), *rest) for some, rest in zip(views, labels, strict=True))


class Batches(Protocol):
    """An epoch's batches: a `Loader`, a list of `Batch`, or any other iterable that knows how many it gives."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


@dataclass
class Part:
    """One of several workers' share of every batch.

    Args:
        index: Which worker this is, from 0.
        workers: Those that share, by their index; a worker that is lost is among them no more.
        own: Whether a worker has events of its own, instead of a part of each batch.
        alone: Whether its batches are whole ones, as if it had no others.
    """

    index: int
    workers: Sequence[int]
    own: bool = False
    alone: bool = False
    share: float = 1.0
    """Of the last batch of all, what this worker's part of it was."""

    def rows(self, rows: Ints) -> Ints:
        """What this worker draws from: all rows, or every so many-th."""
        return rows[self.workers.index(self.index) :: len(self.workers)] if self.own else rows

    def of(self, picked: Tensor) -> Tensor:
        """This worker's part of a batch of all."""
        if self.own:
            return picked
        mine = picked.tensor_split(len(self.workers))[self.workers.index(self.index)]
        self.share = len(mine) / len(picked)
        return mine

    def apart(self) -> None:
        """Go on with chance of one's own, now that the order is drawn; the first worker has that of one alone."""
        if self.index:
            own = np.random.SeedSequence((torch.initial_seed(), self.index))
            torch.manual_seed(int(own.generate_state(1, np.uint64)[0] >> 1))


class Loader:
    """Batches of the events of `data` at `rows`, in a new random order each time it is iterated over, or in theirs.

    Order comes from torch's global generator, so `torch.manual_seed` before an epoch makes it. Each batch is read from
    the views when its turn comes: views that stay in a file (`ddnn.data.load`) are never in memory as a whole.
    """

    def __init__(
        self,
        data: Dataset,
        rows: Ints,
        *,
        batch: int,
        place: torch.device | None = None,
        in_order: bool = False,
        part: Part | None = None,
    ) -> None:
        self.place, self._in_order, self._part = place or torch.device("cpu"), in_order, part
        # Of the largest whole number that each worker has: all make as many steps.
        count = len(rows) // len(part.workers) if part and part.alone else len(rows)
        self._steps = max(-(-count // batch) if in_order else count // batch, 1)
        rows = self._rows = part.rows(rows) if part else rows
        self._views: list[Array | Tensor] = [
            view if in_file(view) else torch.from_numpy(view[rows]).to(self.place) for view in data.views
        ]
        self._y, self._y_dev, self._present = (
            torch.from_numpy(array[rows]).to(self.place) for array in (data.y, learnt(data), data.present)
        )

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Batch]:
        count = len(self._y)
        order = (torch.arange if self._in_order else torch.randperm)(count, device=self.place)
        if self._part:
            self._part.apart()
        for picked in order.tensor_split(self._steps):
            picked = self._part.of(picked) if self._part else picked
            views = [self._read(view, picked) for view in self._views]
            yield Batch(views, self._y[picked], self._y_dev[picked], self._present[picked])

    def _read(self, view: Array | Tensor, picked: Tensor) -> Tensor:
        if isinstance(view, Tensor):
            return view[picked]
        return torch.from_numpy(np.asarray(view[self._rows[picked.cpu().numpy()]])).to(self.place)


def standing_in(seen: Tensor) -> Tensor:
    """(B,) rows of events: in the place of one that is not `seen` (B,) one that is, in turn, if there is any."""
    rows = torch.arange(len(seen), device=seen.device)
    known = rows[seen]
    return torch.where(seen, rows, known[rows % len(known)]) if len(known) else rows


def learnt(data: Dataset) -> Ints:
    """(N, D) what each device learns: its own class, -1 where it has no view."""
    return np.where(data.present, data.y_dev, -1)


def batch_of(data: Dataset) -> Batch:
    """All events of `data` as one batch."""
    views = [torch.from_numpy(np.ascontiguousarray(view)) for view in data.views]
    return Batch(views, *(torch.from_numpy(array) for array in (data.y, learnt(data), data.present)))


def augment(
    views: Sequence[Tensor],
    inputs: Sequence[tuple[Tensor, Tensor]],
    grid: tuple[int, int] | None,
    config: TrainingConfig,
) -> list[Tensor]:
    """Change views (B, *shape_i), those of a grid as one image.

    `inputs` are each device's means by channel, which amplitudes change around, and spreads, the unit of noise.
    Devices of one shape change in one go.
    """
    values = [view.to(torch.float32) for view in views]
    if grid:
        return _cut(_moved(join(values, grid), config), grid)
    changed: dict[int, Tensor] = {}
    for shape in dict.fromkeys(view.shape for view in values):
        alike = [index for index, view in enumerate(values) if view.shape == shape]
        mean, spread = (torch.stack(part) for part in zip(*(inputs[index] for index in alike), strict=True))
        events = torch.cat([values[index] for index in alike])
        mean, spread = mean.repeat_interleave(shape[0], dim=0), spread.repeat_interleave(shape[0], dim=0)
        whole = _changed(events, mean, spread, config)
        changed |= zip(alike, whole.chunk(len(alike)), strict=True)
    return [changed[index] for index in range(len(values))]


def _changed(view: Tensor, mean: Tensor, spread: Tensor, config: TrainingConfig) -> Tensor:
    if view.dim() == 4:
        return _tinted(_moved(view, config), spread, config.colour)
    if view.dim() == 3:
        view = _turned(_delayed(view, config.shift), config.turn)
        view = view + config.scale * _uniform(view, 1, 1) * (view - mean)
    return view + config.noise * spread * torch.randn_like(view)


def _tinted(images: Tensor, spread: Tensor, share: float) -> Tensor:
    """Change strength and level of each channel of images (B, C, H, W)."""
    if not share:
        return images
    channels = images.shape[1]
    return images * (1 + share * _uniform(images, channels, 1, 1)) + share * spread * _uniform(images, channels, 1, 1)


def _turned(series: Tensor, degrees: float) -> Tensor:
    """Rotate the channels of series (B, 3n, L), three by three, about a random axis; all of a device's alike."""
    if not degrees or series.shape[1] % 3:
        return series
    axis = functional.normalize(torch.randn(len(series), 3, device=series.device), dim=1)
    angle = math.radians(degrees) * _uniform(series, 1, 1)
    x, y, z = axis.unbind(dim=1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(-1, 3, 3)
    # Rodrigues' formula: R = I + sin θ K + (1 − cos θ) K².
    rotation = torch.eye(3, device=series.device) + angle.sin() * cross + (1 - angle.cos()) * cross @ cross
    threes = series.reshape(len(series), -1, 3, series.shape[2])
    return (rotation[:, None] @ threes).reshape(series.shape)


def _uniform(like: Tensor, *shape: int) -> Tensor:
    """(B, *shape) in −1..1."""
    return torch.rand(len(like), *shape, device=like.device) * 2 - 1


def _moved(images: Tensor, config: TrainingConfig) -> Tensor:
    """Mirror, shift, rotate, scale and warp each image (B, C, H, W); its border goes on outside."""
    if config.mirror:
        images = torch.where(torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5, images.flip(3), images)
    if not (config.shift or config.rotate or config.scale or config.warp):
        return images
    height, width = images.shape[2:]
    angle = math.radians(config.rotate) * _uniform(images, 1)[:, 0]
    size = 1 + config.scale * _uniform(images, 2)
    cosine, sine = angle.cos(), angle.sin()
    # Coordinates run from −1 to 1 on both axes whatever their lengths: a rotation must undo that.
    across = torch.stack([cosine / size[:, 0], -sine * height / width / size[:, 0]], dim=1)
    down = torch.stack([sine * width / height / size[:, 1], cosine / size[:, 1]], dim=1)
    past = 2 * config.shift * _uniform(images, 2)
    # Sums of what a column and what a row adds: a product with every point takes ten times as long.
    columns, rows = ((2 * torch.arange(side, device=images.device) + 1) / side - 1 for side in (width, height))
    grid = torch.stack(
        [
            turn[:, :1, None] * columns + (turn[:, 1:] * rows + past[:, axis : axis + 1])[:, :, None]
            for axis, turn in enumerate((across, down))
        ],
        dim=3,
    )
    if config.warp:
        # A few random displacements, joined smoothly: each part of the image moves a little in a way of its own.
        knots = 2 * config.warp * _uniform(images, 2, KNOTS, KNOTS)
        smooth = functional.interpolate(knots, size=(height, width), mode="bicubic", align_corners=True)
        grid = grid + smooth.permute(0, 2, 3, 1)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _delayed(series: Tensor, share: float) -> Tensor:
    """Shift each series (B, C, L) in time by up to `share` of its length; the ends are held."""
    length = series.shape[2]
    delay = (share * length * _uniform(series, 1)).round().to(torch.int64)
    where = (torch.arange(length, device=series.device) + delay).clamp(0, length - 1)
    return series.gather(2, where[:, None].expand_as(series))


def join(views: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    """Views (B, C, h, w) of a grid → the image (B, C, rows·h, columns·w) they were cut from."""
    columns, rows = grid
    strips = [torch.cat(list(views[c * rows : (c + 1) * rows]), dim=2) for c in range(columns)]
    return torch.cat(strips, dim=3)


def _cut(image: Tensor, grid: tuple[int, int]) -> list[Tensor]:
    columns, rows = grid
    return [part for strip in image.chunk(columns, dim=3) for part in strip.chunk(rows, dim=2)]


def drop_devices(present: Tensor, chance: float, whole: float) -> Tensor:
    """Take each present device (B, D) away with `chance`, from the share `whole` of the events none, and never all."""
    lost = torch.rand(present.shape, device=present.device) < chance
    lost &= torch.rand(len(present), 1, device=present.device) >= whole
    kept = present & ~lost
    return torch.where(kept.any(dim=1, keepdim=True), kept, present)
