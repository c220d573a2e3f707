"""What goes between the server and a device: heads of fixed size, rows, gradients, scores and features, no views."""

import math
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from torch import Tensor

from ddnn.codec import codec_of
from ddnn.errors import BadInput
from ddnn.training.distributed.cost import VALUE, Exchanged

__all__ = ["ANSWER_BYTES", "LEARN", "ORDER_BYTES", "START", "STATE", "Answer", "Cut", "Order", "turn_of"]

LEARN, STATE, START = 1, 2, 3
"""Run on these rows; send the section's weights; start from these weights."""

_ORDER: Final = struct.Struct("<4sB3xIfIII")
_ANSWER: Final = struct.Struct("<4sB3xII")
_MARK: Final = b"DDNS"
ORDER_BYTES: Final = _ORDER.size
ANSWER_BYTES: Final = _ANSWER.size


@dataclass(frozen=True)
class Cut:
    """What a device's section gives: K scores and features of one shape, in signs or in single precision.

    Signs alone are packed: their gradient passes through at the device, whereas a range of levels learns above.
    """

    classes: int
    shape: tuple[int, ...]
    codec: str

    @property
    def signs(self) -> bool:
        """Whether features go up in one bit each."""
        return self.codec == "bits1"

    @property
    def values(self) -> int:
        """Numbers of an event, features and scores, each with a gradient."""
        return math.prod(self.shape) + self.classes

    @property
    def features_bytes(self) -> int:
        """Of an event, on the way up."""
        return codec_of(self.codec).bytes(self.shape) if self.signs else VALUE * math.prod(self.shape)

    @property
    def up(self) -> int:
        """Bytes of an event on the way up, without heads."""
        return self.features_bytes + VALUE * self.classes

    @property
    def down(self) -> int:
        """Bytes of an event on the way down, its row and its gradients, without heads."""
        return VALUE * (1 + self.values)

    def exchanged(self, steps: int, events: int) -> Exchanged:
        """What a device exchanges in an epoch of so many steps and events; its weights, at the end of it, apart.

        The gradients of the last step come with the order to send those.
        """
        sent, received = steps * ANSWER_BYTES + events * self.up, (steps + 1) * ORDER_BYTES + events * self.down
        return Exchanged(2 * steps + 1, sent, received)

    def packed(self, scores: Tensor, features: Tensor) -> bytes:
        """Scores (B, K) and features (B, *shape), signs or not, as they travel."""
        said = scores.detach().to("cpu", torch.float32).numpy().astype("<f4").tobytes()
        flat = features.detach().to("cpu", torch.float32).flatten(1).numpy()
        if self.signs:
            return said + codec_of(self.codec).pack((flat > 0).astype(np.uint8)).tobytes()
        return said + flat.astype("<f4").tobytes()

    def unpacked(self, body: bytes, rows: int) -> tuple[Tensor, Tensor]:
        """The same back; raise `BadInput` unless they are of so many rows, and finite."""
        if len(body) != rows * self.up:
            found = f"scores and features of {len(body)} bytes came"
            raise BadInput(f"{found}; expected {rows * self.up}, of {rows} events")
        said = VALUE * self.classes * rows
        scores = _floats(body[:said], "scores").reshape(rows, self.classes)
        if not self.signs:
            return scores, _floats(body[said:], "features").reshape(rows, *self.shape)
        packed = np.frombuffer(body, np.uint8, offset=said).reshape(rows, self.features_bytes)
        levels = codec_of(self.codec).unpack(packed, (math.prod(self.shape),))
        return scores, torch.from_numpy(levels.astype(np.float32) * 2 - 1).reshape(rows, *self.shape)

    def gradients(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Those of scores and features, of one vector (B · values,)."""
        rows = vector.reshape(-1, self.values)
        return rows[:, : self.classes], rows[:, self.classes :].reshape(-1, *self.shape)


@dataclass(frozen=True)
class Order:
    """What a device is to do: learn from the gradients of what it said last, then what its kind says."""

    kind: int
    turn: int  #: orders are numbered; an answer has its order's number
    rate: float = 0.0  #: learning rate of the step that the gradients make
    gradients: Tensor | None = None  #: (B · values,) of the rows before
    rows: Tensor | None = None  #: (B,) of the device's training events, to run on
    state: bytes = b""  #: weights to start from, as safetensors

    def packed(self) -> bytes:
        """As it travels."""
        gradients = b"" if self.gradients is None else self.gradients.numpy().astype("<f4").tobytes()
        rows = b"" if self.rows is None else self.rows.numpy().astype("<u4").tobytes()
        sizes = len(gradients) // VALUE, len(rows) // VALUE, len(self.state)
        return _ORDER.pack(_MARK, self.kind, self.turn, self.rate, *sizes) + gradients + rows + self.state

    @classmethod
    def unpacked(cls, body: bytes) -> "Order":
        """What travelled; raise `BadInput` where that is none."""
        if len(body) < ORDER_BYTES or body[:4] != _MARK:
            raise BadInput(f"an order of {len(body)} bytes came that is none; expected a server of `ddnn split`")
        _, kind, turn, rate, gradients, rows, state = _ORDER.unpack_from(body)
        ends = np.cumsum([ORDER_BYTES, VALUE * gradients, VALUE * rows, state])
        if len(body) != ends[-1] or kind not in (LEARN, STATE, START) or not math.isfinite(rate):
            raise BadInput(f"an order of {len(body)} bytes came; expected {ends[-1]}, as its head says")
        parts = [body[start:end] for start, end in pairwise(ends)]
        numbers = torch.from_numpy(np.frombuffer(parts[1], "<u4").astype(np.int64))
        return cls(kind, turn, rate, _floats(parts[0], "gradients") if gradients else None, numbers, parts[2])


@dataclass(frozen=True)
class Answer:
    """What a device has made of an order."""

    kind: int
    turn: int
    body: bytes = b""

    def packed(self) -> bytes:
        """As it travels."""
        return _ANSWER.pack(_MARK, self.kind, self.turn, len(self.body)) + self.body

    @classmethod
    def unpacked(cls, body: bytes) -> "Answer":
        """What travelled; raise `BadInput` where that is none."""
        if len(body) < ANSWER_BYTES or body[:4] != _MARK:
            raise BadInput(f"an answer of {len(body)} bytes came that is none; expected one of `ddnn split`")
        _, kind, turn, size = _ANSWER.unpack_from(body)
        if len(body) != ANSWER_BYTES + size:
            raise BadInput(f"an answer of {len(body)} bytes came; expected {ANSWER_BYTES + size}, as its head says")
        return cls(kind, turn, body[ANSWER_BYTES:])


def turn_of(body: bytes) -> int:
    """The number of an answer, by its head; −1 of what is none."""
    whole = len(body) >= ANSWER_BYTES and body[:4] == _MARK
    return int(_ANSWER.unpack_from(body)[2]) if whole else -1


def _floats(body: bytes, what: str) -> Tensor:
    numbers = torch.from_numpy(np.frombuffer(body, "<f4").astype(np.float32))
    if not torch.isfinite(numbers).all():
        raise BadInput(f"{what} came that are no numbers; expected finite ones")
    return numbers
