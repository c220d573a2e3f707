"""What learning together costs, told before: messages and bytes to the byte, time and compute by a model of the link.

Legend: P workers, m values, b = 4 bytes a value, α latency a message, β seconds a byte.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

from ddnn.training.config import WorkersConfig

__all__ = ["Exchanged", "Model", "averaged", "exchanged", "served"]

VALUE: Final = 4
HEAD: Final = 48
"""Bytes of a message's head, where there is a server."""
PARCEL: Final = 32
"""Bytes of the head of a parcel, of a federated round."""


@dataclass(frozen=True)
class Model:
    """What is exchanged of a network."""

    learning: int  #: weights that learn
    statistics: int  #: running means and variances
    moments: int = 0  #: values of the optimizer's state

    @property
    def values(self) -> int:
        """m."""
        return self.learning + self.statistics


@dataclass(frozen=True)
class Exchanged:
    """What one process hands to the transport, and takes from it."""

    messages: int
    sent: int
    received: int

    def times(self, count: int) -> "Exchanged":
        """So many times as much."""
        return Exchanged(self.messages * count, self.sent * count, self.received * count)

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def rounds(workers: WorkersConfig, steps: int) -> int:
    """Exchanges of a worker in an epoch of so many steps; an epoch ends with one, or begins with one of replicas."""
    return steps if workers.mode == "sync" else math.ceil(steps / workers.every)


def exchanged(workers: WorkersConfig, model: Model, steps: int) -> Exchanged:
    """What a worker exchanges in an epoch of so many steps, without compression; a replica once it listens."""
    count, whole = rounds(workers, steps), VALUE * model.values
    if workers.mode == "codistill":
        return Exchanged(workers.count, whole, (workers.count - 1) * whole).times(count)
    if workers.mode in ("sync", "average"):
        size = whole + VALUE * model.moments * (workers.mode == "average" and workers.average_optimizer)
        return Exchanged(1, size, size).times(count)
    push, weights = Exchanged(1, HEAD + whole, 0), Exchanged(1, 0, HEAD + whole)
    if workers.mode == "downpour":
        fetches = 1 + (steps - 1) // workers.fetch_every  # before the first step, and before the one after so many
        return _sum(push.times(count), Exchanged(2, HEAD, HEAD + whole).times(fetches))
    first = Exchanged(2, HEAD, HEAD + whole) if workers.mode == "softsync" else Exchanged(0, 0, 0)
    return _sum(first, _sum(push, weights).times(count))


def served(workers: WorkersConfig, model: Model, steps: int) -> Exchanged:
    """What the server exchanges with all of its workers in an epoch."""
    one = exchanged(workers, model, steps)
    return Exchanged(one.messages, one.received, one.sent).times(workers.count)


def averaged(sites: int, values: int, *, secret: bool = False) -> Exchanged:
    """What the server of a federated round exchanges with so many sites, of which none is lost: m = `values`.

    In secret there are four turns: keys, pieces of seeds, weights with the others' pieces, pieces of what is left.
    """
    if not secret:
        return Exchanged(2, PARCEL + VALUE * values, PARCEL + VALUE * values).times(sites)
    keys, hidden, piece, flag = 64, 48, 16, 1
    down = 4 * PARCEL + sites * keys + VALUE * values + sites * hidden + sites * flag
    up = 4 * PARCEL + keys + sites * hidden + 8 * (values + 2) + sites * piece
    return Exchanged(8, down, up).times(sites)


def _sum(one: Exchanged, other: Exchanged) -> Exchanged:
    return Exchanged(one.messages + other.messages, one.sent + other.sent, one.received + other.received)
