"""The live table: one row an event, running totals below; plain lines where there is no terminal."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from threading import Lock
from typing import Final, Literal, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ddnn.bundle import Bundle
from ddnn.client import AsyncFleet, EventAnswer
from ddnn.fleet.events import Event, file_of
from ddnn.fleet.player import Pace, Played, Tally, play
from ddnn.formatting import NONE, percent, plain_table
from ddnn.types import Exit

__all__ = ["LiveTable", "all_to_the_cloud", "show"]

_COLORS: Final = {Exit.DEVICE: "cyan", Exit.LOCAL: "green", Exit.EDGE: "yellow", Exit.CLOUD: "magenta"}
_LINES_AROUND_ROWS: Final = 8
_MOST_ROWS: Final = 24
_LONGEST_LABEL: Final = 18
_ROWS_A_TOTAL: Final = 50
_Column = tuple[str, int, Literal["left", "right"]]


class LiveTable:
    """Show events as they are played: the last ones and totals in place, or, without a terminal, a line for each."""

    def __init__(
        self, classes: Sequence[str], devices: int, console: Console | None = None, *, named: bool = False
    ) -> None:
        """`named`: events have names, longer than numbers."""
        self.tally = Tally()
        self._names = [name if len(name) <= _LONGEST_LABEL else f"{name[: _LONGEST_LABEL - 1]}…" for name in classes]
        self._console = console or Console(highlight=False)
        self._columns = _columns(_LONGEST_LABEL if named else 8, max(map(len, self._names), default=0), devices)
        self._rows: deque[Played] = deque(maxlen=max(3, min(_MOST_ROWS, self._console.height - _LINES_AROUND_ROWS)))
        self._live: Live | None = None
        self._totalled = 0  # events in the last line of totals
        self._lock = Lock()  # a terminal is drawn by a thread of its own, while events come

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=12, get_renderable=self._draw)
            self._live.start()
        else:
            self._print([header for header, _, _ in self._columns])
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()
        elif self.tally.events + self.tally.failed != self._totalled:
            self._print_totals()

    def show(self, played: Played) -> None:
        """Add one event."""
        with self._lock:
            self.tally.add(played)
            self._rows.append(played)
        if self._live:
            return
        self._print([text.plain for text in self._cells(played)])
        if (self.tally.events + self.tally.failed) % _ROWS_A_TOTAL == 0:
            self._print_totals()

    def _cells(self, played: Played) -> tuple[Text, ...]:
        event, answer = played.event, played.answer
        truth = "?" if event.label is None else self._names[event.label]
        if answer is None:
            return (
                Text(_shortened(event.name)),
                Text(truth),
                Text(NONE, "red"),
                *[Text(NONE)] * 5,
                Text(played.error, "red"),
            )
        return (
            Text(_shortened(event.name)),
            Text(truth),
            Text(self._names[answer.label], "" if event.label in (None, answer.label) else "bold red"),
            Text(answer.exit.value, _COLORS[answer.exit]),
            Text(percent(answer.confidence, 0)),
            Text("".join("●" if seen else "○" for seen in answer.devices), "dim" if answer.devices.all() else "yellow"),
            Text(f"{answer.bytes_up:,}"),
            Text(f"{played.milliseconds:.1f}"),
            Text(_remark(answer), "yellow"),
        )

    def _draw(self) -> RenderableType:
        table = plain_table()
        table.show_header = True
        for header, width, justify in self._columns:
            table.add_column(header, no_wrap=True, justify=justify, min_width=width, overflow="ellipsis")
        with self._lock:
            rows, totals = tuple(self._rows), self._totals()
        for played in rows:
            table.add_row(*self._cells(played))
        return Group(table, Text(), *totals)

    def _totals(self) -> tuple[Text, ...]:
        totals = self.tally.document()
        accuracy = (percent(totals["accuracy"]), "bold")
        first = Text.assemble((f"{totals['events']:,}", "bold"), " events   accuracy ", accuracy)
        shares = [(Exit(exit), share) for exit, share in totals["exit_share"].items() if share]
        for place, (exit, share) in enumerate(shares):
            first.append(" · " if place else "   answered at ").append(f"{exit} {percent(share, 0)}", _COLORS[exit])
        if totals["degraded"]:
            first.append(f"   degraded {totals['degraded']:,}", "yellow")
        if totals["failed"]:
            first.append(f"   not answered {totals['failed']:,}", "red")
        if not totals["events"]:
            return (first,)
        sent, p50 = (f"{totals['bytes_per_event']:,.0f}", "bold"), (f"{totals['p50_ms']:.1f} ms", "bold")
        photographs = any(view is not None and file_of(view) for view in self._rows[-1].event.views)
        what = "photographs" if photographs else "raw views"
        views = f" an event, the {what} are {totals['raw_bytes_per_event']:,.0f}   latency p50 "
        return first, Text.assemble("bytes up ", sent, views, p50, f"  p95 {totals['p95_ms']:.1f} ms")

    def _print_totals(self) -> None:
        self._totalled = self.tally.events + self.tally.failed
        self._console.print("=", "   ".join(text.plain for text in self._totals()), markup=False, soft_wrap=True)

    def _print(self, cells: Sequence[str]) -> None:
        columns = zip(cells, self._columns, strict=True)
        padded = [cell.rjust(width) if side == "right" else cell.ljust(width) for cell, (_, width, side) in columns]
        self._console.print("  ".join(padded).rstrip(), markup=False, soft_wrap=True)


def show(
    urls: Sequence[str],
    events: Iterator[Event],
    pace: Pace,
    classes: Sequence[str],
    token: str | None = None,
    console: Console | None = None,
    then: Callable[[Played], object] = lambda _: None,
) -> Tally:
    """Play `events` to the devices at `urls` with a live table, and call `then` with each."""

    async def played_events() -> Tally:
        async with AsyncFleet(urls, token=token) as fleet:
            first = next(events, None)
            every, named = chain([first] if first else [], events), first is not None and len(first.name) > 8
            with LiveTable(classes, len(urls), console, named=named) as table:
                async for played in play(fleet, every, pace):
                    table.show(played)
                    then(played)
        return table.tally

    return asyncio.run(played_events())


def all_to_the_cloud(bundle: Bundle) -> str | None:
    """What the events of `bundle` would cost, and give, if every picture went up; None where none goes up at all."""
    views, golden = bundle.topology.views, bundle.golden
    if views is None:
        return None
    right = float((bundle.task.labels(golden["cloud_scores"]) == golden["y"]).mean())
    pictures = golden["present"].sum(axis=1)
    each = float((pictures.clip(max=views.most) if views.most else pictures).mean()) * views.mean_bytes
    return f"Every picture to the cloud: accuracy {percent(right)}, {2 * each:,.0f} bytes an event on both links."


def _shortened(name: str) -> str:
    """What is at the end of a long name tells it from others."""
    return name if len(name) <= _LONGEST_LABEL else f"…{name[1 - _LONGEST_LABEL :]}"


def _columns(name: int, label: int, devices: int) -> list[_Column]:
    """Header, width and side of each; `name` is the width of an event's, `label` that of the longest class."""
    names = max(6, label)
    event: list[_Column] = [("event", name, "right"), ("true", names, "left"), ("answer", names, "left")]
    served: list[_Column] = [("exit", 9, "left"), ("sure", 6, "right"), ("devices", max(7, devices), "left")]
    return [*event, *served, ("bytes up", 8, "right"), ("ms", 8, "right"), ("", 0, "left")]


def _remark(answer: EventAnswer) -> str:
    """Why it is degraded, or made without devices that live."""
    if answer.degraded:
        return f"degraded: {answer.degraded_reason}"
    return f"without {', '.join(map(str, answer.late))}" if answer.late else ""
