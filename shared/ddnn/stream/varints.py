"""Whole numbers in as few bytes as they need: 7 bits a byte, lowest first, the top bit set in all but the last."""

from typing import Final

from ddnn.errors import BadInput

__all__ = ["MOST", "Reader", "varint"]

MOST: Final = (1 << 63) - 1  #: nine bytes


def _written(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


_SMALL: Final = [_written(value) for value in range(1 << 14)]


def varint(value: int) -> bytes:
    """`value`, 0 to `MOST`, as one to nine bytes."""
    return _SMALL[value] if value < 1 << 14 else _written(value)


class Reader:
    """Reads one frame from front to back; raise `BadInput` where it ends too early or goes on."""

    def __init__(self, data: bytes | memoryview, at: int = 0) -> None:
        self.data, self.at = data, at

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise BadInput("the frame ends too early; expected one more byte")
        self.at += 1
        return self.data[self.at - 1]

    def number(self, most: int = MOST) -> int:
        """A varint of at most `most`."""
        value = self.byte()
        if value > 127:
            value &= 127
            for shift in range(7, 63, 7):
                part = self.byte()
                value |= (part & 127) << shift
                if part < 128:
                    break
            else:
                raise BadInput("the frame has a number of more than nine bytes; expected fewer")
        if value > most:
            raise BadInput(f"the frame has the number {value}; expected at most {most}")
        return value

    def numbers(self, count: int, most: int) -> list[int]:
        """So many varints."""
        if self.left < count:
            raise BadInput(f"the frame has {self.left} bytes left; expected {count} numbers")
        return [self.number(most) for _ in range(count)]

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise BadInput(f"the frame has {self.left} bytes left; expected {size}")
        self.at += size
        return bytes(self.data[self.at - size : self.at])

    def rest(self) -> bytes:
        return self.take(self.left)

    def end(self) -> None:
        if self.left:
            raise BadInput(f"the frame goes on for {self.left} bytes after its end; expected none")
