"""Which answers are audited, and how many at most."""

import random
from collections.abc import Callable
from hashlib import blake2b

from ddnn.topology import Topology
from ddnn.types import Exit

__all__ = ["Bucket", "audited_exits", "sampled"]


def audited_exits(topology: Topology) -> tuple[Exit, ...]:
    """The exits whose answers can be audited: where an event is one tier's alone to send on."""
    if len(topology.edges) > 1:
        return ()
    alone = len(topology.devices) == 1  # a sure device of several has not got the event, the edge not its features
    return tuple(exit for exit in topology.exits if exit is not Exit.CLOUD and (exit is not Exit.DEVICE or alone))


def sampled(event: bytes | None, share: float) -> bool:
    """Whether an event is among the `share` that is audited: by its id, the same everywhere; without one by chance."""
    if event is None:
        return random.random() < share
    return int.from_bytes(blake2b(event, digest_size=8, person=b"ddnn audit").digest()) < share * 2**64


class Bucket:
    """Lets through `burst` at once and `per_second` in the long run."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        """`clock` tells seconds."""
        self._rate, self._burst, self._clock = per_second, float(burst), clock
        self._tokens, self._filled = self._burst, clock()

    def take(self) -> bool:
        """One through, if there is room."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
