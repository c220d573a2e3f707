"""The live table: one row an event, running totals below; plain lines where there is no terminal."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ddnn.client import AsyncFleet
from ddnn.fleet.events import Event
from ddnn.fleet.player import Pace, Played, Tally, play
from ddnn.types import Bools, Exit

__all__ = ["LiveTable", "show"]

_COLORS: Final = {Exit.DEVICE: "cyan", Exit.LOCAL: "green", Exit.EDGE: "yellow", Exit.CLOUD: "magenta"}
_LINES_AROUND_ROWS: Final = 8
_MOST_ROWS: Final = 24
_LONGEST_LABEL: Final = 18
_PLAIN: Final = "{:>8}  {:<{w}}  {:<{w}}  {:<9} {:>6}  {:<{d}}  {:>8}  {:>8}  {}"
_ROWS_A_TOTAL: Final = 50


class LiveTable:
    """Show played events as they come; a context manager.

    On a terminal the last rows and the totals are drawn in place; elsewhere every event is a line, and the totals are
    one every `_ROWS_A_TOTAL` events and at the end.
    """

    def __init__(self, classes: Sequence[str], devices: int, console: Console | None = None) -> None:
        self.tally = Tally()
        self._classes, self._devices = tuple(classes), devices
        self._console = console or Console(highlight=False)
        self._rows: deque[Played] = deque(maxlen=max(3, min(_MOST_ROWS, self._console.height - _LINES_AROUND_ROWS)))
        self._live: Live | None = None
        self._told = 0  # events in the last line of totals
        self._lock = Lock()  # a terminal is drawn by a thread of its own, while events come

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=12, get_renderable=self._draw)
            self._live.start()
        else:
            self._print(*("event", "true", "answer", "exit", "sure", "devices", "bytes up", "ms", ""))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        elif self._seen() != self._told:
            self._totals_line()

    def show(self, played: Played) -> None:
        """Add one event."""
        with self._lock:
            self.tally.add(played)
            self._rows.append(played)
        if self._live:
            return
        self._print(*(text.plain for text in self._cells(played)))
        if self._seen() % _ROWS_A_TOTAL == 0:
            self._totals_line()

    def _seen(self) -> int:
        return self.tally.events + self.tally.failed

    def _cells(self, played: Played) -> tuple[Text, ...]:
        event, answer = played.event, played.answer
        truth = Text(self._name(event.label))
        if answer is None:
            note = Text(played.error, style="red")
            return (Text(event.name), truth, Text("—", style="red"), *(Text("—") for _ in range(5)), note)
        right = event.label is None or answer.label == event.label
        return (
            Text(event.name),
            truth,
            Text(self._name(answer.label), style="" if right else "bold red"),
            Text(answer.exit.value, style=_COLORS[answer.exit]),
            Text(f"{answer.confidence:.0%}"),
            _dots(answer.devices),
            Text(f"{answer.bytes_up:,}"),
            Text(f"{played.milliseconds:.1f}"),
            Text(f"degraded: {answer.degraded_reason}" if answer.degraded else "", style="yellow"),
        )

    def _name(self, label: int | None) -> str:
        name = "?" if label is None else self._classes[label]
        return name if len(name) <= _LONGEST_LABEL else name[: _LONGEST_LABEL - 1] + "…"

    def _draw(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        for header in ("event", "true", "answer", "exit"):
            table.add_column(header, no_wrap=True, justify="right" if header == "event" else "left", min_width=7)
        table.add_column("sure", justify="right", no_wrap=True)
        table.add_column("devices", no_wrap=True, min_width=self._devices)
        table.add_column("bytes up", justify="right", no_wrap=True)
        table.add_column("ms", justify="right", no_wrap=True, min_width=6)
        table.add_column("", no_wrap=True, overflow="ellipsis")
        with self._lock:
            rows, totals = tuple(self._rows), self._totals()
        for played in rows:
            table.add_row(*self._cells(played))
        return Group(table, Text(), *totals)

    def _totals(self) -> tuple[Text, ...]:
        tally = self.tally
        accuracy = "—" if tally.accuracy is None else f"{tally.accuracy:.1%}"
        first = Text.assemble((f"{tally.events:,}", "bold"), " events   accuracy ", (accuracy, "bold"))
        shares = [(exit, tally.share(exit)) for exit in Exit if tally.exits[exit]]
        for place, (exit, share) in enumerate(shares):
            first.append(" · " if place else "   answered at ").append(f"{exit.value} {share:.0%}", style=_COLORS[exit])
        if tally.degraded:
            first.append(f"   degraded {tally.degraded:,}", style="yellow")
        if tally.failed:
            first.append(f"   not answered {tally.failed:,}", style="red")
        if not tally.events:
            return (first,)
        second = Text.assemble(
            "bytes up ",
            (f"{tally.bytes_per_event:,.0f}", "bold"),
            f" an event, the raw views are {tally.raw_bytes_per_event:,.0f}   latency p50 ",
            (f"{tally.latency(50):.1f} ms", "bold"),
            f"  p95 {tally.latency(95):.1f} ms",
        )
        return first, second

    def _totals_line(self) -> None:
        self._told = self._seen()
        self._console.print("=", "   ".join(text.plain for text in self._totals()), markup=False, soft_wrap=True)

    def _print(self, *cells: str) -> None:
        width = max([6, *(len(self._name(label)) for label in range(len(self._classes)))])
        line = _PLAIN.format(*cells, w=width, d=max(self._devices, len("devices")))
        self._console.print(line.rstrip(), markup=False, soft_wrap=True)


def _dots(devices: Bools) -> Text:
    return Text("".join("●" if present else "○" for present in devices), style="dim" if devices.all() else "yellow")


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
