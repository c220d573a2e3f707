"""Bytes made wrong in the ways that bad links and attackers do."""

from random import Random
from typing import Final

__all__ = ["spoiled"]

_MOST: Final = 64  #: bytes put in, or doubled
_NUMBERS: Final = (
    *(b"\x00", b"\x7f", b"\x80", b"\xff", b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x80" * 9, b"\xff" * 9),
    *(b"-1", b"1e999", b"NaN", b"null", b"[]", b"{}", b'"', b"9" * 40, b"\\u0000", b"\r\n", b"\xc3\x28"),
)
"""What readers of lengths, of numbers and of text trip over."""


def spoiled(data: bytes, chance: Random) -> bytes:
    """`data` with one to four things wrong: a bit flipped, bytes left out, put in, doubled, moved, or the end cut."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.randint(1, _MOST))
        piece = data[at:to]
        match chance.randrange(6):
            case 0 if piece:
                data = data[:at] + bytes((piece[0] ^ 1 << chance.randrange(8),)) + data[at + 1 :]
            case 1:
                data = data[:at] + data[to:]
            case 2:
                data = data[:at] + chance.choice((*_NUMBERS, chance.randbytes(_MOST))) + data[at:]
            case 3:
                data = data[:at] + piece * 2 + data[to:]
            case 4:
                rest = data[:at] + data[to:]
                other = chance.randrange(len(rest) + 1)
                data = rest[:other] + piece + rest[other:]
            case _ if chance.random() < 0.3:
                data = data[:at]
    return data
