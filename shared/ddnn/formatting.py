"""Numbers and tables as people read them, the same in every command, report and page.

| | |
| --- | --- |
| `percent(0.984)` | `98.4 %`; a share in 0..1 |
| `interval(0.98, 0.987)` | `98.0 to 98.7 %` |
| `threshold(0.0)` | `off` |
| `signed(-0.25)` | `−0.25`; a difference |
| `number(1234.5)` | `1,234.5` |
| `count(2, "device")` | `2 devices` |
| `size(1_859_000)` | `1.9 MB` |
| `milliseconds(0.0123)` | `12.3 ms` |
| `clock(3723)` | `1:02:03` |
| `table("Exits", "exit", "accuracy")` | a table of a terminal, of rich |
| `markdown(columns, rows)` | a table of a report |

What is None is `—`.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["NONE", "clock", "count", "interval", "milliseconds", "number", "percent", "signed", "size", "threshold"]
__all__ += ["markdown", "plain_table", "table"]

NONE: Final = "—"


def percent(share: float | None, digits: int = 1) -> str:
    """`98.4 %` of a share in 0..1."""
    return NONE if share is None else f"{100 * share:.{digits}f} %"


def interval(low: float, high: float, digits: int = 1) -> str:
    """`98.0 to 98.7 %` of two shares, or one of them where they are the same."""
    return percent(low, digits) if low == high else f"{100 * low:.{digits}f} to {percent(high, digits)}"


def threshold(value: float | None) -> str:
    """`0.41`, or `off` for 0."""
    return f"{value:.4g}" if value else "off"


def signed(difference: float, digits: int = 2) -> str:
    """`−0.25`, with a sign; what rounds to nothing is `+0.00`."""
    text = f"{abs(difference):.{digits}f}"
    return f"{'−' if difference < 0 and float(text) else '+'}{text}"


def number(value: float | None, digits: int = 1) -> str:
    """`1,234.5`, or `1,234` where it is whole."""
    return NONE if value is None else f"{value:,.{digits}f}" if value % 1 else f"{value:,.0f}"


def count(number: int, noun: str) -> str:
    """`1 device`, `2 devices`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(bytes: float) -> str:
    """`839 B`, `12.3 kB`, `1.9 MB`."""
    return next(
        (f"{bytes / unit:,.1f} {name}" for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if bytes >= unit),
        f"{bytes:,.0f} B",
    )


def milliseconds(seconds: float | None, digits: int = 1) -> str:
    """`12.3 ms` of seconds."""
    return NONE if seconds is None else f"{1000 * seconds:,.{digits}f} ms"


def clock(seconds: float) -> str:
    """`1:02:03`, or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def table(title: str | None, *columns: str) -> "Table":
    """An empty table of a terminal: the first column to the left, the others to the right."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for place, column in enumerate(columns):
        made.add_column(column, justify="right" if place else "left")
    return made


def plain_table(*headers: str) -> "Table":
    """A table of a terminal without lines."""
    from rich.table import Table

    return Table(
        *headers, box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0), show_header=bool(headers)
    )


def markdown(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown: the first column to the left, the others to the right."""
    rule = ["---", *("---:" for _ in columns[1:])]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (columns, rule, *rows)) + "\n"
