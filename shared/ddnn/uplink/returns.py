"""An address that others have taken over for is asked again only once it is steadily ready, by no event's try.

Tiers below that name the same addresses see one come back within half a second of each other, wait as long, and so go
back nearly together: events whose parts must meet at one address are not torn apart by whichever tries first.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ddnn.uplink.health import Target

__all__ = ["Returns"]

_EVERY_S: Final = 0.5
_IN_A_ROW: Final = 6  #: times that it must have said that it is ready: three seconds


class Returns:
    """A task for each address that is given up, until it is back."""

    def __init__(self, ready: Callable[[Target], Awaitable[bool]]) -> None:
        self._ready = ready
        self._tasks: dict[Target, asyncio.Task[None]] = {}

    def watch(self, target: Target) -> None:
        """Look after an address whose circuit is open, until that is closed."""
        if target not in self._tasks:
            self._tasks[target] = asyncio.get_running_loop().create_task(self._watch(target))

    async def aclose(self) -> None:
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _watch(self, target: Target) -> None:
        in_a_row = 0
        try:
            # Closed by an event all the same: no other address was left, so it was tried.
            while target.breaker.opened is not None:
                await asyncio.sleep(_EVERY_S)
                in_a_row = in_a_row + 1 if await self._ready(target) else 0
                if in_a_row >= _IN_A_ROW:
                    target.breaker.tried_again()
        finally:
            del self._tasks[target]
