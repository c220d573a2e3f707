"""What sources see, asked of a fleet; a full queue between them loses its oldest event."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final
from uuid import uuid4

from ddnn.client import AsyncFleet, EventAnswer
from ddnn.errors import DDNNError
from ddnn.formatting import count
from ddnn.sources.source import Frame, Source
from ddnn.sources.windows import Joined, Windows

__all__ = ["Counts", "Plan", "Watched", "watch"]

AT_ONCE: Final = 4  #: events asked about together
TICK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """How a site is watched."""

    site: str = "site"  #: what event ids begin with
    rate: float = 1.0  #: events a second, at most
    queue: int = 16  #: events that wait, at most
    count: int | None = None  #: end after so many events
    deadline_ms: float | None = None  #: of each; the tiers' own by default


@dataclass
class Counts:
    """What became of the photographs."""

    events: int = 0  #: that were answered
    failed: int = 0  #: that got no answer
    dropped: int = 0  #: that were taken out of the full queue
    surplus: int = 0  #: photographs beyond one a camera and stretch
    late: int = 0  #: photographs of stretches that were over

    def document(self) -> dict[str, Any]:
        """The last line of `--json`."""
        return asdict(self)

    def sentence(self) -> str:
        """The same for a person."""
        parts = [f"{count(self.events, 'event')} answered", f"{self.failed} not"] if self.failed else []
        parts = parts or [f"{count(self.events, 'event')} answered"]
        parts += [f"{self.dropped:,} dropped from a full queue"] * bool(self.dropped)
        parts += [f"{count(self.surplus, 'photograph')} more than one a stretch"] * bool(self.surplus)
        return ", ".join(parts + [f"{count(self.late, 'photograph')} too late"] * bool(self.late))


@dataclass(frozen=True, slots=True)
class Watched:
    """One event and what became of it."""

    event: Joined
    answer: EventAnswer | None  #: None when no device answered
    error: str  #: why there is no answer
    milliseconds: float  #: from complete to answered, the wait in the queue with it
    waiting: int  #: events in the queue
    counts: Counts  #: so far

    def document(self) -> dict[str, Any]:
        """One line of `--json`."""
        seen = {"event": self.event.id, "time": round(self.event.time, 3), "views": _mask(self.event.views)}
        cost = {"milliseconds": round(self.milliseconds, 1), "waiting": self.waiting, "dropped": self.counts.dropped}
        if (answer := self.answer) is None:
            return {**seen, "error": self.error, **cost}
        said = {"class": answer.class_name or str(answer.label), "label": answer.label, "exit": answer.exit.value}
        said |= {"confidence": round(answer.confidence, 6), "degraded": answer.degraded_reason}
        errors = {str(device): str(error) for device, error in answer.errors.items()}
        said["late"] = list(answer.late)
        return {**seen, **said, "bytes_up": answer.bytes_up, "errors": errors, **cost}


Show = Callable[[Watched], object]


def _mask(views: Sequence[bytes | None]) -> list[bool]:
    return [view is not None for view in views]


async def watch(fleet: AsyncFleet, sources: Sequence[Source], plan: Plan, show: Show) -> Counts:
    """Ask `fleet` about what `sources` see, one each a device, until they end; `show` is called for every event."""
    watching = _Watching(fleet, plan, len(sources), show, live=any(source.live for source in sources))
    return await watching.run(sources)


class _Watching:
    def __init__(self, fleet: AsyncFleet, plan: Plan, sources: int, show: Show, *, live: bool) -> None:
        self._fleet, self._plan, self._show, self._live = fleet, plan, show, live
        # Stretches of files begin with them: another run's are others.
        site = plan.site if live else f"{plan.site}-{uuid4().hex[:8]}"
        self._windows, self._counts = Windows(site, plan.rate, sources), Counts()
        self._queue: asyncio.Queue[tuple[Joined, float]] = asyncio.Queue(plan.queue)
        self._shown, self._over = 0, asyncio.Event()

    async def run(self, sources: Sequence[Source]) -> Counts:
        workers = [asyncio.create_task(self._work()) for _ in range(AT_ONCE)]
        reading = asyncio.create_task(self._read_live(sources) if self._live else self._read_files(sources))
        over = asyncio.create_task(self._over.wait())
        tasks = [*workers, reading, over]
        try:
            # A worker ends by an error only, which is this program's own.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if reading in done and not over.done():
                await reading
                joined = asyncio.create_task(self._queue.join())
                tasks.append(joined)
                done, _ = await asyncio.wait([*workers, over, joined], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return self._now()

    async def _read_live(self, sources: Sequence[Source]) -> None:
        """All at once, and the clock beside them, which closes stretches that a camera is missing in."""

        async def read(index: int, source: Source) -> None:
            async for frame in source.frames():
                await self._offer(self._windows.add(index, frame))
            await self._offer(self._windows.ended(index))

        async def tick() -> None:
            while True:
                await asyncio.sleep(TICK_S)
                await self._offer(self._windows.due(time.time()))

        clock = asyncio.create_task(tick())
        readers = [asyncio.create_task(read(*pair)) for pair in enumerate(sources)]
        try:
            await asyncio.gather(*readers)
        finally:
            for task in (clock, *readers):
                task.cancel()

    async def _read_files(self, sources: Sequence[Source]) -> None:
        """The one that is furthest behind next, so that none runs ahead."""
        streams, waiting = [source.frames() for source in sources], dict[int, Frame]()

        async def ask(index: int) -> None:
            if (frame := await anext(streams[index], None)) is not None:
                waiting[index] = frame
            else:
                await self._offer(self._windows.ended(index))

        for index in range(len(streams)):
            await ask(index)
        while waiting:
            index = min(waiting, key=lambda index: waiting[index].time)
            await self._offer(self._windows.add(index, waiting.pop(index)))
            await ask(index)

    async def _offer(self, events: Sequence[Joined]) -> None:
        """Queue events that are complete; in place of the oldest if the queue is full and they cannot wait."""
        for event in events:
            if self._live and self._queue.full():
                self._queue.get_nowait()
                self._queue.task_done()
                self._counts.dropped += 1
            await self._queue.put((event, time.perf_counter()))

    async def _work(self) -> None:
        while True:
            event, since = await self._queue.get()
            answer, error = None, ""
            try:
                views: list[Any] = [*event.views, *[None] * (len(self._fleet.clients) - len(event.views))]
                answer = await self._fleet.answer_event(views, event=event.id, deadline_ms=self._plan.deadline_ms)
            except DDNNError as raised:
                error = str(raised)
            self._counts.events += answer is not None
            self._counts.failed += answer is None
            took = (time.perf_counter() - since) * 1000
            if self._plan.count is None or self._shown < self._plan.count:
                self._show(Watched(event, answer, error, took, self._queue.qsize(), self._now()))
            self._shown += 1
            self._queue.task_done()
            if self._shown == self._plan.count:
                self._over.set()

    def _now(self) -> Counts:
        return replace(self._counts, surplus=self._windows.surplus, late=self._windows.late)
