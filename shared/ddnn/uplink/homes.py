"""Which of several addresses is an event's home: the same from everywhere, without anything that is shared.

Rendezvous hashing (Thaler & Ravishankar 1998): each address draws a number from an event's key, the highest has it. Of
one address that goes, its events alone go elsewhere, to all the others alike; what comes takes of each alike.
"""

from collections.abc import Sequence
from hashlib import blake2b
from itertools import count

__all__ = ["Homes"]


class Homes:
    """The order in which addresses are asked for an event; that in which they are given says nothing."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._drawing = [blake2b(url.encode() + b"\n", digest_size=8) for url in urls]
        self._unnamed = count()

    def order(self, key: bytes | None) -> list[int]:
        """Numbers of the addresses, the event's home first; without a key, which nothing is joined by, any in turn."""
        key = b"%d" % next(self._unnamed) if key is None else key
        drawn = []
        for number, begun in enumerate(self._drawing):
            hash = begun.copy()
            hash.update(key)
            drawn.append((hash.digest(), number))
        return [number for _, number in sorted(drawn, reverse=True)]
