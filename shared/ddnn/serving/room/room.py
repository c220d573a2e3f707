"""One control room: looks at a fleet, keeps the picture of it, and sends what changes to those who look."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from ddnn.serving.room.board import Board
from ddnn.serving.room.history import FIGURES, History
from ddnn.serving.room.report import Report
from ddnn.serving.room.streams import Message, Streams, named

__all__ = ["Room"]

_log = logging.getLogger("ddnn")
_EVERY_S: Final = 0.5  #: while somebody looks
_RARELY_S: Final = 10.0


class Room:
    """A board, those who look at it, and a task that keeps it up to date."""

    def __init__(
        self, board: Board, look: Callable[[], Awaitable[None]], facts: dict[str, Any], history: History
    ) -> None:
        """`look` brings the board up to date; `facts` are what never changes, for the page."""
        self.board, self.streams, self._look, self.history = board, Streams(), look, history
        topology = board.topology
        self._facts = {
            "exits": [exit.value for exit in topology.exits],
            "devices": len(topology.devices),
            **facts,
        }
        self.more: dict[str, Any] = {}  #: what else is shown, and changes
        self._task: asyncio.Task[None] | None = None

    @property
    def watched(self) -> bool:
        """Whether somebody looks."""
        return len(self.streams) > 0

    def take(self, report: Report) -> None:
        """Put a report on the board, and send its events on at once."""
        rows = self.board.take(report)
        if rows:
            self.history.add_events(rows)
            self.streams.publish("events", rows)
        if report.views:
            self.streams.publish("views", {view.id: {report.index: view.png} for view in report.views})

    def start(self) -> None:
        self._task = self._task or asyncio.create_task(self._run())

    async def stop(self) -> None:
        self.streams.close()
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def now(self) -> dict[str, Any]:
        """All that the page shows, as it is now."""
        await self._look()
        return self._whole()

    def _state(self) -> dict[str, Any]:
        return {**self.board.snapshot(), **self.more}

    def _whole(self) -> dict[str, Any]:
        board = self.board
        kept = {"figures": FIGURES, "history": self.history.latest(1.0)}
        return {
            "fleet": self._facts,
            "state": self._state(),
            "events": [*board.events],
            "views": board.views(),
            **kept,
        }

    async def messages(self) -> AsyncIterator[Message]:
        """What one reader is sent: everything, then what changes; raise `Unavailable` where there are enough."""
        stream = self.streams.open()
        try:
            yield named("whole", self._whole())
            async for message in stream.messages():
                yield message
        finally:
            self.streams.leave(stream)

    async def _run(self) -> None:
        self.board.events.extend(await asyncio.to_thread(self.history.open))
        while True:
            try:
                await self._look()
                self.board.tick()
                if self.history.due:
                    await self._remember()
                self.streams.publish("state", self._state())
            except Exception:  # the next look may do better
                _log.exception("the control room could not look at the fleet")
            if self.watched:
                await asyncio.sleep(_EVERY_S)
                continue
            try:
                async with asyncio.timeout(_RARELY_S):
                    await self.streams.opened.wait()
            except TimeoutError:
                pass

    async def _remember(self) -> None:
        board = self.board
        agreement = ((board.audited() or {}).get("agreement") or {}).get("share")
        await asyncio.to_thread(self.history.sample, board.wall(), board.figures(), agreement)
        self.streams.publish("sample", self.history.samples[-1])
