"""Links between the tiers of a fleet on one machine: each is a proxy that is as slow and narrow as a real one."""

from collections.abc import Mapping, Sequence
from typing import Final

from ddnn.errors import BadInput
from ddnn.link import Shape
from ddnn.tier import Tier

__all__ = ["LINKS", "parse_shapes"]

LINKS: Final = {"device-edge": Tier.DEVICE, "edge-cloud": Tier.EDGE}
"""By name, the tier at the lower end; each device, or edge, has a link of its own."""
_EXPECTED: Final = "expected one like edge-cloud=40ms,10mbit,5ms: a round trip, a rate in kbit, mbit or gbit, a jitter"


def parse_shapes(given: Sequence[str]) -> Mapping[Tier, Shape]:
    """Shapes by the tier at the lower end, out of `device-edge=5ms,50mbit` and `edge-cloud=40ms,10mbit,5ms`.

    Any part may be left out; raise `BadInput` for what is none.
    """
    found: dict[Tier, Shape] = {}
    for text in given:
        name, separator, value = (part.strip() for part in text.partition("="))
        if not separator or name not in LINKS:
            raise BadInput(f"link is {text!r}; {_EXPECTED}; the links are {' and '.join(LINKS)}")
        if LINKS[name] in found:
            raise BadInput(f"link {name} is given twice; expected each once")
        found[LINKS[name]] = Shape.parse(value)
    return found
