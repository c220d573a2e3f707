"""The links between tiers: how long a message takes on its way."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ddnn.errors import BadInput
from ddnn.types import Array

__all__ = ["LINKS", "Link", "Links", "parse_links"]

LINKS: Final = ("device-edge", "edge-cloud")
"""By name, lowest first."""
_NUMBER: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]+)", re.IGNORECASE)
_SECONDS: Final = {"ms": 1e-3, "s": 1.0}
_BITS: Final = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_EXPECTED: Final = "expected one like device-edge=5ms,50mbit: a round trip in ms or s, a rate in kbit, mbit or gbit"


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
                "round_trip_s": link.round_trip_s,
                "bits_per_s": None if math.isinf(link.bits_per_s) else link.bits_per_s,
            }
            for name, link in zip(LINKS, (self.device_edge, self.edge_cloud), strict=True)
        } | {"shared": self.shared}

    def __str__(self) -> str:
        of = "shared by its devices" if self.shared else "one for each device"
        return f"device-edge {self.device_edge} ({of}); edge-cloud {self.edge_cloud}"


def parse_links(given: Sequence[str], *, shared: bool = False) -> Links:
    """Links out of `device-edge=5ms,50mbit` and `edge-cloud=40ms,10mbit`; raise `BadInput` for what is none.

    Either part may be left out; a link not named, and what is left out, takes no time.
    """
    found: dict[str, Link] = {}
    for text in given:
        name, separator, value = text.partition("=")
        name = name.strip()
        if not separator or name not in LINKS:
            raise BadInput(f"link is {text!r}; {_EXPECTED}; the links are {' and '.join(LINKS)}")
        if name in found:
            raise BadInput(f"link {name} is given twice; expected each once")
        found[name] = _link(text, value)
    near, far = (found.get(name, Link()) for name in LINKS)
    return Links(near, far, shared)


def _link(text: str, value: str) -> Link:
    parts: dict[str, float] = {}
    for part in value.split(","):
        match = _NUMBER.fullmatch(part.strip())
        number, unit = (float(match[1]), match[2].lower()) if match else (0.0, "")
        if unit in _SECONDS:
            key, amount = "round_trip_s", number * _SECONDS[unit]
        elif unit in _BITS and number > 0:
            key, amount = "bits_per_s", number * _BITS[unit]
        else:
            raise BadInput(f"link is {text!r}: {part.strip()!r} is neither a round trip nor a rate; {_EXPECTED}")
        if key in parts:
            raise BadInput(f"link is {text!r}, which has two of a kind; {_EXPECTED}")
        parts[key] = amount
    return Link(**parts)
