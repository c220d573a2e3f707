"""The links of a fleet by name, each with its shape, as a person writes them."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from ddnn.errors import BadInput
from ddnn.types import Tier

__all__ = ["LINKS", "LinkShape", "parse_links"]

_NUMBER: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]+)", re.IGNORECASE)
_SECONDS: Final = {"ms": 1e-3, "s": 1.0}
_BITS: Final = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_EXPECTED: Final = "expected one like 40ms,10mbit,5ms: a round trip, a rate in kbit, mbit or gbit, a jitter"


@dataclass(frozen=True, slots=True)
class LinkShape:
    """Round trip, rate and jitter; by default nothing takes any time."""

    round_trip_s: float = 0.0
    """Seconds there and back for a message of no length, half each way; a new connection costs one more."""
    bits_per_s: float = math.inf  #: bits a second, each way, for all connections together
    jitter_s: float = 0.0
    """Seconds that a round trip takes longer on average, exponential, half each way; order is kept."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Out of `40ms,10mbit,5ms`, any part of which may be missing; raise `BadInput` for what is none."""
        times, rates = list[float](), list[float]()
        for part in filter(None, (part.strip() for part in text.split(","))):
            match = _NUMBER.fullmatch(part)
            number, unit = (float(match[1]), match[2].lower()) if match else (0.0, "")
            if unit in _SECONDS:
                times.append(number * _SECONDS[unit])
            elif unit in _BITS and number > 0:
                rates.append(number * _BITS[unit])
            else:
                raise BadInput(f"the shape of a link is {text!r}: {part!r} is no part of one; {_EXPECTED}")
        if len(times) > 2 or len(rates) > 1:
            raise BadInput(f"the shape of a link is {text!r}, which has too many of a kind; {_EXPECTED}")
        round_trip, jitter = (*times, 0.0, 0.0)[:2]
        return cls(round_trip, rates[0] if rates else math.inf, jitter)

    def seconds(self, size: Any) -> Any:
        """How long `size` bytes, a number or an array of them, take to pass, without the way itself."""
        return size * 8 / self.bits_per_s

    def __str__(self) -> str:
        rate = "" if math.isinf(self.bits_per_s) else f",{self.bits_per_s / 1e3:.12g}kbit"
        jitter = f",{1e3 * self.jitter_s:.12g}ms" if self.jitter_s else ""
        return f"{1e3 * self.round_trip_s:.12g}ms{rate}{jitter}"


LINKS: Final = {"device-edge": Tier.DEVICE, "edge-cloud": Tier.EDGE}
"""The tier at the lower end by name, lowest first; each device, or edge, has a link of its own."""
_EXPECTED_LINK: Final = "expected one like edge-cloud=40ms,10mbit: a round trip, a rate in kbit, mbit or gbit"


def parse_links(given: Sequence[str]) -> dict[str, LinkShape]:
    """Shapes by name, out of `device-edge=5ms,50mbit` and `edge-cloud=40ms`; raise `BadInput` for what is none."""
    shapes: dict[str, LinkShape] = {}
    for text in given:
        name, _, value = (part.strip() for part in text.partition("="))
        if not value or name not in LINKS:
            raise BadInput(f"link is {text!r}; {_EXPECTED_LINK}; the links are {' and '.join(LINKS)}")
        if name in shapes:
            raise BadInput(f"link {name} is given twice; expected each once")
        shapes[name] = LinkShape.parse(value)
    return shapes
