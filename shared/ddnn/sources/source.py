"""What every source is: photographs in the order of their times."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["LONGEST_REST_S", "Frame", "Say", "Source", "rests"]

LONGEST_REST_S: Final = 30.0  #: before a camera or broker that was lost is tried again
_FIRST_REST_S: Final = 1.0

Say = Callable[[str], object]
"""Hears a sentence about a source that is lost, or a file that is no photograph."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One photograph."""

    time: float  #: Unix time in seconds; of a source that is not live, seconds from its beginning
    content: bytes  #: a JPEG, PNG or WebP file


class Source(Protocol):
    """One of the things that `ddnn watch` takes."""

    name: str  #: as it was given
    live: bool
    """Whether photographs come when they come; else they wait until they are asked for, and none is dropped."""

    def frames(self) -> AsyncIterator[Frame]:
        """The photographs; without end, if it is live."""


def rests(rest: float) -> float:
    """The next rest, in seconds, after one of `rest`, 0 at first."""
    return min(2 * rest or _FIRST_REST_S, LONGEST_REST_S)
