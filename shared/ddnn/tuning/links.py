"""The links between tiers: how long a message takes on its way."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ddnn import links as named
from ddnn.errors import BadInput
from ddnn.types import Array

__all__ = ["Link", "Links", "parse_links"]


@dataclass(frozen=True, slots=True)
class Link:
    """One link; by default nothing takes any time on it."""

    round_trip_s: float = 0.0
    """Seconds there and back for a message of no length."""
    bits_per_s: float = math.inf
    """Bits a second, either way."""

    def seconds(self, size: Array | float) -> Any:
        """How long `size` bytes take to pass, without the way itself."""
        return size * 8 / self.bits_per_s

    def __str__(self) -> str:
        rate = "any rate" if math.isinf(self.bits_per_s) else f"{self.bits_per_s / 1e6:g} Mbit/s"
        return f"{1000 * self.round_trip_s:g} ms, {rate}"


@dataclass(frozen=True, slots=True)
class Links:
    """Both links of a fleet."""

    device_edge: Link = Link()
    edge_cloud: Link = Link()
    shared: bool = False
    """Whether the devices of an edge share one link; else each has its own."""

    def document(self) -> dict[str, Any]:
        """As JSON: seconds and bits a second, None for any rate."""
        return {
            name: {
                "round_trip_s": each.round_trip_s,
                "bits_per_s": None if math.isinf(each.bits_per_s) else each.bits_per_s,
            }
            for name, each in zip(named.LINKS, (self.device_edge, self.edge_cloud), strict=True)
        } | {"shared": self.shared}

    def __str__(self) -> str:
        of = "shared by its devices" if self.shared else "one for each device"
        return f"device-edge {self.device_edge} ({of}); edge-cloud {self.edge_cloud}"


def parse_links(given: Sequence[str], *, shared: bool = False) -> Links:
    """Links out of `device-edge=5ms,50mbit` and `edge-cloud=40ms,10mbit`; raise `BadInput` for what is none.

    Either part may be left out; a link not named, and what is left out, takes no time.
    """
    shapes = named.parse_links(given)
    for name, shape in shapes.items():
        if shape.jitter_s:
            raise BadInput(
                f"link {name} is {shape}, with a jitter; expected a round trip and a rate: means are counted"
            )
    near, far = (shapes.get(name, named.Shape()) for name in named.LINKS)
    return Links(Link(near.round_trip_s, near.bits_per_s), Link(far.round_trip_s, far.bits_per_s), shared)
