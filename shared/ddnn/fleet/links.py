"""Links between the tiers of a fleet on one machine: each is a proxy that is as slow and narrow as a real one."""

from collections.abc import Mapping, Sequence
from typing import Final

from ddnn.link import LINKS, Shape, parse_links
from ddnn.tier import Tier

__all__ = ["LOWER", "parse_shapes"]

LOWER: Final = dict(zip(LINKS, (Tier.DEVICE, Tier.EDGE), strict=True))
"""The tier at the lower end of each link; each device, or edge, has one of its own."""


def parse_shapes(given: Sequence[str]) -> Mapping[Tier, Shape]:
    """Shapes by the tier at the lower end, out of `device-edge=5ms,50mbit` and the like; raise `BadInput`."""
    return {LOWER[name]: shape for name, shape in parse_links(given).items()}
