"""How long each caller of a gathering event wants its other children to be waited for."""

from collections.abc import Sequence
from typing import Final

from ddnn.serving.event import Event, Reply

__all__ = ["Patience"]

_BEHIND_S: Final = 0.005  #: a loop that is later than that has not read all that has come


class Patience:
    """Each caller's own: the straggler timeout or its `wait_ms`, from when it came."""

    def __init__(self, times: int) -> None:
        """`times` as long as the policy or the request says."""
        self._times = times

    def due(self, event: Event, reply: Reply) -> float:
        """Loop time until which a caller wants children to be waited for."""
        return reply.came + reply.patience(event.wait_s, self._times)

    def behind(self, event: Event, now: float) -> bool:
        """Whether the loop is so late that contributions may be here and unread.

        Then callers wait on: twice as long at most, and for half of what time they have left.
        """
        if now - event.due < _BEHIND_S or not event.replies:
            return False
        return all(now < self.due(event, reply) + self._grace(event, reply) for reply, _ in event.replies)

    def alike(self, event: Event, due: Sequence[tuple[Reply, int]], now: float) -> list[tuple[Reply, int]]:
        """Those that are due, with those whose patience is like theirs and half over: one event instead of several."""
        most = 2 * max(self.due(event, reply) - reply.came for reply, _ in due)
        return [each for each in event.replies if each in due or self._nearly(event, each[0], most, now)]

    def _nearly(self, event: Event, reply: Reply, most: float, now: float) -> bool:
        patience = self.due(event, reply) - reply.came
        return patience <= most and now >= reply.came + patience / 2

    def _grace(self, event: Event, reply: Reply) -> float:
        due = self.due(event, reply)
        return min(due - reply.came, (reply.options.deadline - due) / 2)
