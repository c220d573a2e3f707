"""Where played events come from: the golden events of a bundle, or a data file."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from ddnn.bundle import Bundle
from ddnn.types import Array, Bools, Ints

if TYPE_CHECKING:
    from ddnn.data import Dataset

__all__ = ["Event", "Events", "events_of", "golden_events"]


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


def events_of(bundle: Bundle, data: "Dataset", split: str = "test") -> Events:
    """The events of one split of `data`, or of `all`; raise `BadData` unless they fit `bundle`."""
    from ddnn.evaluation.scores import fits

    part = data if split == "all" else data.subset(split)
    fits(bundle, part)
    return Events(part.views, part.y, part.present, part.index)
