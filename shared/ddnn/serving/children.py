"""Those below a tier that joins, and how what they send is laid out for its sections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ddnn.serving.event import Contribution, Event
from ddnn.topology import Input
from ddnn.types import Array, Ints

__all__ = ["Children", "Place", "fill", "fill_views"]

Place = slice | Ints  #: where a child's rows go in the fusion of its tier


@dataclass(frozen=True)
class Children:
    """Those below a tier, and what an event of all of them is."""

    places: Sequence[Place]  #: of each child, in the fusion
    width: int  #: places there are
    devices: Sequence[int]  #: all devices below
    event_bytes: int  #: what an event's tensors may grow to, when all have sent all
    patience: int = 1  #: times as long as the policy or the request says are children waited for
    views: Input | None = None  #: what the cloud takes of their views, if it asks for them
    below: Sequence[Sequence[int]] = ()  #: devices of each child, where a child is not a device itself

    def of(self, *children: int) -> tuple[int, ...]:
        """The devices of some children."""
        if not self.below:
            return tuple(self.devices[child] for child in children)
        return tuple(sorted(device for child in children for device in self.below[child]))


def fill(event: Event, parts: Mapping[int, Contribution], children: Children) -> None:
    """Spread what all of `parts` sent over the places of the fusion; those of absent children are masked out."""
    parts = {child: part for child, part in parts.items() if part.inputs}
    if not parts:
        return
    event.devices = np.logical_or.reduce([part.devices for part in parts.values()])
    if any(part.answered for part in parts.values()):
        return
    event.inputs["present"] = _spread({child: part.present for child, part in parts.items()}, children)
    for name in set.intersection(*(set(part.inputs) for part in parts.values())):
        event.inputs[name] = _spread({child: part.inputs[name] for child, part in parts.items()}, children)


def fill_views(event: Event, parts: Mapping[int, Contribution], children: Children) -> None:
    """Spread views over the places that they have above; who took part below stays as it was, `shown` says whose."""
    event.inputs["view"] = _spread({child: part.inputs["view"] for child, part in parts.items()}, children)
    event.inputs["shown"] = _spread({child: part.present for child, part in parts.items()}, children)


def _spread(rows: Mapping[int, Array], children: Children) -> Array:
    first = next(iter(rows.values()))
    spread = np.zeros((children.width, *first.shape[1:]), first.dtype)
    if first.dtype == np.object_:
        spread[:] = b""  # no file, and no bytes, for an absent child
    for child, part in rows.items():
        spread[children.places[child]] = part
    return spread
