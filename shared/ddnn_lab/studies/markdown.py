"""Tables in Markdown, and numbers as people read them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["clock", "number", "percent", "points", "table"]

Spread = Mapping[str, Any] | None


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, the first column left-aligned, the others right."""
    rule = ["---", *("---:" for _ in columns[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows)) + "\n"


def percent(value: Spread, digits: int = 1) -> str:
    """`98.4 (98.1–98.7)`: a share in percent, with its interval if it has one."""
    if value is None:
        return "—"
    text = f"{100 * value['mean']:.{digits}f}"
    if value["low"] is None:
        return text
    low, high = (100 * min(max(value[key], 0.0), 1.0) for key in ("low", "high"))
    return f"{text} ({low:.{digits}f}–{high:.{digits}f})"


def points(value: Spread, digits: int = 2) -> str:
    """`+0.31 (−0.05 to +0.67)`: a difference of shares in percentage points."""
    if value is None:
        return "—"
    text = _signed(100 * value["mean"], digits)
    if value["low"] is None:
        return text
    return f"{text} ({_signed(100 * value['low'], digits)} to {_signed(100 * value['high'], digits)})"


def number(value: Spread, digits: int = 1) -> str:
    """The mean of a plain number."""
    if value is None:
        return "—"
    mean = value["mean"]
    return f"{mean:,.0f}" if float(mean).is_integer() else f"{mean:,.{digits}f}"


def clock(seconds: float) -> str:
    """`1:02:03`, or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _signed(value: float, digits: int) -> str:
    text = f"{abs(value):.{digits}f}"
    return f"{'−' if value < 0 and float(text) else '+'}{text}"
