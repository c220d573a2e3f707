"""The links of a fleet by name, each with its shape, as a person writes them."""

from collections.abc import Sequence
from typing import Final

from ddnn.errors import BadInput
from ddnn.link.shape import Shape

__all__ = ["LINKS", "parse_links"]

LINKS: Final = ("device-edge", "edge-cloud")
"""By name, lowest first."""
_EXPECTED: Final = "expected one like edge-cloud=40ms,10mbit: a round trip in ms or s, a rate in kbit, mbit or gbit"


def parse_links(given: Sequence[str]) -> dict[str, Shape]:
    """Shapes by name, out of `device-edge=5ms,50mbit` and `edge-cloud=40ms,10mbit,5ms`.

    Any part of a shape may be left out, not all of it; raise `BadInput` for what is none.
    """
    found: dict[str, Shape] = {}
    for text in given:
        name, _, value = (part.strip() for part in text.partition("="))
        if not value or name not in LINKS:
            raise BadInput(f"link is {text!r}; {_EXPECTED}; the links are {' and '.join(LINKS)}")
        if name in found:
            raise BadInput(f"link {name} is given twice; expected each once")
        found[name] = Shape.parse(value)
    return found
