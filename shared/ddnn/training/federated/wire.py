"""What goes between the server and a site: a head of fixed size and one vector of weights, and nothing else."""

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from ddnn.errors import BadInput

__all__ = ["HEAD_BYTES", "Parcel"]

_HEAD: Final = struct.Struct("<4sIQdQ")
_MARK: Final = b"DDNF"
HEAD_BYTES: Final = _HEAD.size


@dataclass(frozen=True)
class Parcel:
    """Weights, of a round."""

    round: int
    vector: Tensor  #: (m,)
    events: int = 0  #: that a site learnt them from
    loss: float = 0.0

    def packed(self) -> bytes:
        """As it travels."""
        head = _HEAD.pack(_MARK, self.round, self.events, self.loss, self.vector.numel())
        return head + self.vector.to(torch.float32).contiguous().numpy().astype("<f4").tobytes()

    @staticmethod
    def round_of(body: bytes) -> int:
        """Whose round a parcel is of, by its head; −1 of what is none."""
        return int.from_bytes(body[4:8], "little") if len(body) >= HEAD_BYTES and body[:4] == _MARK else -1

    @classmethod
    def unpacked(cls, body: bytes, count: int) -> "Parcel":
        """What travelled; raise `BadInput` unless it is `count` finite weights."""
        if len(body) != HEAD_BYTES + 4 * count or body[:4] != _MARK:
            raise BadInput(f"a parcel of {len(body)} bytes came; expected {HEAD_BYTES + 4 * count}, {count} weights")
        _, round, events, loss, _ = _HEAD.unpack_from(body)
        vector = torch.from_numpy(np.frombuffer(body, "<f4", offset=HEAD_BYTES).astype(np.float32))
        if not torch.isfinite(vector).all():
            raise BadInput(f"a parcel of round {round} has weights that are no numbers")
        return cls(round, vector, events, loss)
