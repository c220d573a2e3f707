"""Where played events come from: the golden events of a bundle, or a data file."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.types import Array, Bools, Ints

__all__ = ["Event", "Events", "golden_events", "load_events"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing at one moment."""

    name: str
    """Its row in the data set, as the table shows it."""
    label: int | None
    """The true class, where known."""
    views: tuple[Array | None, ...]
    """What each device sees, without a batch axis; None where a device sees nothing."""


@dataclass(frozen=True)
class Events:
    """N events of D devices."""

    views: tuple[Array, ...]
    """D arrays (N, …)."""
    y: Ints
    present: Bools
    """(N, D)."""
    index: Ints
    """(N,) rows in the data set they come from."""

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, row: int) -> Event:
        seen = self.present[row]
        views = tuple(view[row] if seen[device] else None for device, view in enumerate(self.views))
        return Event(f"#{int(self.index[row])}", int(self.y[row]), views)

    def take(self, wanted: int | None, seed: int = 0) -> Iterator[Event]:
        """The first `wanted` events in a shuffled order, from the start again when they run out.

        None = each once, 0 = without end. Files are often sorted by class; what is shown should not be.
        """
        order = random.Random(seed).sample(range(len(self)), len(self))
        numbers = range(len(self)) if wanted is None else range(wanted) if wanted else count()
        for number in numbers:
            yield self[order[number % len(self)]]


def golden_events(bundle: Bundle) -> Events:
    """The real events that come with `bundle`."""
    golden = bundle.golden
    views = tuple(golden[f"view_{device}"] for device in range(len(bundle.topology.devices)))
    return Events(views, golden["y"], golden["present"].astype(bool), golden["index"])


def load_events(bundle: Bundle, source: str, *, grid: str | None = None, split: str = "test") -> Events:
    """The events of one split of a data file or a built-in data set; they must fit the devices of `bundle`."""
    from ddnn.data import load

    data = load(source, grid=grid)
    part = data if split == "all" else data.subset(split)
    if not len(part):
        raise BadInput(f"{source} has no events in its split {split!r}")
    _check_views(bundle, source, part.views)
    return Events(part.views, part.y, part.present, part.index)


def _check_views(bundle: Bundle, source: str, views: Sequence[Array]) -> None:
    devices = bundle.topology.devices
    if len(views) != len(devices):
        raise BadInput(f"{source} has {len(views)} devices; bundle {bundle.manifest.name} has {len(devices)}")
    for device, (array, spec) in enumerate(zip(views, devices, strict=True)):
        if array.shape[1:] != spec.view.shape or array.dtype != spec.view.numpy_dtype:
            raise BadInput(
                f"{source}: device {device} sees {array.dtype} {array.shape[1:]};"
                f" bundle {bundle.manifest.name} expects {spec.view.numpy_dtype} {spec.view.shape}"
            )
