"""What goes between the server and a site: a head of fixed size and one vector of weights, or what hides its parts."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import torch
from torch import Tensor

from ddnn.errors import BadInput
from ddnn.types import Floats

__all__ = ["HEAD_BYTES", "Note", "Parcel", "Phase", "turn_of"]

_HEAD: Final = struct.Struct("<4sIQdQ")
_WEIGHTS, _SPARSE, _NOTE = b"DDNF", b"DDNZ", b"DDNN"
HEAD_BYTES: Final = _HEAD.size


class Phase(IntEnum):
    """What a message of a round is about. A round whose sum is secret has all of these turns, another one `LEARN`."""

    KEYS = 0
    PIECES = 1
    LEARN = 2
    REVEAL = 3


def turn_of(body: bytes) -> int:
    """Which turn a message is of, by its head: 4 · round + phase; −1 of what is none."""
    known = len(body) >= HEAD_BYTES and body[:4] in (_WEIGHTS, _SPARSE, _NOTE)
    return int.from_bytes(body[4:8], "little") if known else -1


@dataclass(frozen=True)
class Parcel:
    """Weights, of a round."""

    round: int
    vector: Tensor  #: (m,)
    events: int = 0  #: that a site learnt them from
    loss: float = 0.0
    sparse: bool = False  #: whether what is 0 is left out: a bit a weight says which are there

    def packed(self) -> bytes:
        """As it travels, the shorter way if it may be sparse."""
        values = self.vector.to(torch.float32).contiguous().numpy().astype("<f4")
        there = np.packbits(values != 0, bitorder="little").tobytes() + values[values != 0].tobytes()
        sparse = self.sparse and len(there) < values.nbytes
        turn = len(Phase) * self.round + Phase.LEARN
        head = _HEAD.pack(_SPARSE if sparse else _WEIGHTS, turn, self.events, self.loss, len(values))
        return head + (there if sparse else values.tobytes())

    @classmethod
    def unpacked(cls, body: bytes, count: int) -> "Parcel":
        """What travelled; raise `BadInput` unless it is `count` finite weights."""
        values = _weights(body, count)
        if values is None:
            raise BadInput(f"a parcel of {len(body)} bytes came; expected {HEAD_BYTES + 4 * count}, {count} weights")
        _, turn, events, loss, _ = _HEAD.unpack_from(body)
        vector = torch.from_numpy(values)
        if not torch.isfinite(vector).all():
            raise BadInput(f"a parcel of round {turn // len(Phase)} has weights that are no numbers")
        return cls(turn // len(Phase), vector, events, loss)


def _weights(body: bytes, count: int) -> Floats | None:
    """The numbers of a parcel, zeros in their places; None where it is none of so many."""
    if body[:4] == _WEIGHTS and len(body) == HEAD_BYTES + 4 * count:
        return np.frombuffer(body, "<f4", offset=HEAD_BYTES).astype(np.float32)
    start = HEAD_BYTES + -(-count // 8)
    if body[:4] != _SPARSE or len(body) < start:
        return None
    bits = np.frombuffer(body, np.uint8, offset=HEAD_BYTES, count=start - HEAD_BYTES)
    there = np.unpackbits(bits, count=count, bitorder="little").astype(np.bool_)
    if len(body) != start + 4 * there.sum():
        return None
    values = np.zeros(count, np.float32)
    values[there] = np.frombuffer(body, "<f4", offset=start)
    return values


@dataclass(frozen=True)
class Note:
    """Bytes of one turn of a round whose sum is secret."""

    round: int
    phase: Phase
    body: bytes = b""

    def packed(self) -> bytes:
        """As it travels."""
        return _HEAD.pack(_NOTE, len(Phase) * self.round + self.phase, 0, 0.0, len(self.body)) + self.body

    @classmethod
    def unpacked(cls, body: bytes, size: int | None = None) -> "Note":
        """What travelled; raise `BadInput` unless it is a note, of `size` bytes if that is known."""
        found = len(body) - HEAD_BYTES
        if found < 0 or body[:4] != _NOTE or (size is not None and found != size):
            expected = "a head" if size is None else f"{HEAD_BYTES + size}"
            raise BadInput(f"a note of {len(body)} bytes came; expected {expected}")
        turn = turn_of(body)
        return cls(turn // len(Phase), Phase(turn % len(Phase)), body[HEAD_BYTES:])
