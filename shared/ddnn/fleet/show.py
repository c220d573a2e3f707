"""Play events to devices and show the answers as they come."""

from collections.abc import Callable, Iterator, Sequence

from rich.console import Console

from ddnn.client import AsyncFleet
from ddnn.fleet.events import Event
from ddnn.fleet.player import Pace, Played, play
from ddnn.fleet.table import LiveTable
from ddnn.fleet.tally import Tally

__all__ = ["show"]


async def show(
    urls: Sequence[str],
    events: Iterator[Event],
    pace: Pace,
    *,
    classes: Sequence[str],
    token: str | None = None,
    console: Console | None = None,
    then: Callable[[Played], object] = lambda _: None,
) -> Tally:
    """Play `events` to the devices at `urls` with a live table, and call `then` with each."""
    async with AsyncFleet(urls, token=token) as fleet:
        with LiveTable(classes, len(urls), console) as table:
            async for played in play(fleet, events, pace):
                table.show(played)
                then(played)
    return table.tally
