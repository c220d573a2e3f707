"""What became of one event, and who is asked."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

__all__ = ["Outcome", "Sample", "Target"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a target said of one event."""

    ok: bool
    """There is an answer, in the right format."""
    label: int = -1
    right: bool | None = None
    """Whether the label is the true one, where that is known."""
    exit: str = ""
    degraded: bool = False
    reason: str = ""
    """Why it is degraded."""
    bytes_up: int = 0
    """Payload sent up for the event."""
    errors: tuple[str, ...] = ()
    """A code for each request of the event that failed; an event may have an answer all the same."""


class Sample(NamedTuple):
    """One event: seconds on the machine's monotonic clock, and what became of it."""

    due: float
    """When it was to begin: latency counts from here, so that a generator held up by the fleet hides nothing."""
    sent: float
    ended: float
    outcome: Outcome


class Target(Protocol):
    """What is loaded: answers events by number. It opens its connections when it is first called, so that it can be
    handed to another process before."""

    async def __call__(self, number: int) -> Outcome:
        """Ask for event `number`; raises nothing."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...
