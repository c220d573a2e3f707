"""Who waits for the answer to a request: nothing is worked on for nobody."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from starlette.types import Scope

__all__ = ["CALLER_LEFT", "Caller", "caller_left"]

CALLER_LEFT: Final = 499
"""What a request is counted as whose caller left before it was answered."""
_KEY: Final = "caller"


class Caller:
    """Ends the task that works on a request when its caller leaves; made in that task."""

    def __init__(self, scope: Scope) -> None:
        self.gone = False
        self._task = asyncio.current_task()
        scope["state"][_KEY] = self

    def leave(self) -> None:
        """Nobody reads the answer any more."""
        self.gone = True
        if self._task:
            self._task.cancel()


def caller_left(state: Mapping[str, Any]) -> None:
    """The connection of a request in this state, which is not answered, was lost."""
    caller = state.get(_KEY)
    if isinstance(caller, Caller):
        caller.leave()
