"""What a worker and the server of the weights say to each other: a head of fixed size, and the numbers it announces."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import torch
from torch import Tensor

from ddnn.training.distributed.group import Group

__all__ = ["HEAD_BYTES", "Kind", "Message", "receive", "send"]

FIELDS: Final = 6
HEAD_BYTES: Final = 8 * FIELDS


class Kind(IntEnum):
    """What a message is."""

    PUSH = 0  #: an update, or a point
    FETCH = 1  #: a wish for the weights
    WEIGHTS = 2  #: the weights
    DONE = 3  #: an epoch's steps are made: their loss, and the events
    WORDS = 4  #: an epoch's line of metrics


@dataclass
class Message:
    """A head, and what comes with it."""

    kind: Kind
    version: int = 0
    """How many times the weights had changed when they were fetched."""
    loss: float = 0.0
    events: int = 0
    numbers: Tensor | None = None
    """(m,) float32; of a compressed update (k,) int32; of words uint8."""

    @property
    def bytes(self) -> int:
        """What it takes on the way."""
        return HEAD_BYTES + (0 if self.numbers is None else self.numbers.numel() * self.numbers.element_size())


_TYPES: Final = (torch.float32, torch.int32, torch.uint8)


def send(group: Group, to: int, message: Message) -> None:
    """Send a message; raise `RuntimeError` when the other side is gone."""
    numbers = message.numbers
    count, kind = (0, 0) if numbers is None else (numbers.numel(), _TYPES.index(numbers.dtype))
    head = [message.kind, message.version, message.loss, message.events, count, kind]
    group.send(to, torch.tensor(head, dtype=torch.float64))
    if numbers is not None and count:
        group.send(to, numbers)


def receive(group: Group, of: int) -> Message:
    """Wait for a message; raise `RuntimeError` when the other side is gone, or silent for too long."""
    kind, version, loss, events, count, type = group.receive(of, torch.zeros(FIELDS, dtype=torch.float64)).tolist()
    numbers = None
    if count:
        numbers = group.receive(of, torch.zeros(int(count), dtype=_TYPES[int(type)]))
    elif Kind(int(kind)) is Kind.PUSH:  # of a compressed update that has nothing to send
        numbers = torch.zeros(0, dtype=_TYPES[int(type)])
    return Message(Kind(int(kind)), int(version), loss, int(events), numbers)
