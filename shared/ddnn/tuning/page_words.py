"""Small pieces of a page: text, tables and numbers."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ddnn.tuning.cost import Price
from ddnn.tuning.objective import amount

__all__ = ["cost", "escaped", "paragraph", "percent", "row", "table", "threshold"]


def escaped(text: object) -> str:
    """Any text, as text of a page."""
    return escape(str(text))


def paragraph(text: str) -> str:
    """Text as a paragraph."""
    return f"<p>{escaped(text)}</p>"


def row(cells: Iterable[object], kind: str = "") -> str:
    """A row of a table; `kind` is how it looks: "part", "marked" or plain."""
    marked = f' class="{kind}"' if kind else ""
    return f"<tr{marked}>{''.join(f'<td>{escaped(cell)}</td>' for cell in cells)}</tr>"


def table(head: Sequence[str], rows: Sequence[str], caption: str = "") -> str:
    """A table of rows by `row`."""
    said = f"<caption>{escaped(caption)}</caption>" if caption else ""
    heads = "".join(f"<th>{escaped(cell)}</th>" for cell in head)
    return (
        f'<div class="wide"><table>{said}<thead><tr>{heads}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + ("\n</tbody></table></div>")
    )


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 0..1."""
    return "—" if share is None else f"{100 * share:.{digits}f} %"


def threshold(value: float) -> str:
    """A threshold as a policy has it."""
    return f"{value:.4g}" if value else "off"


def cost(document: Mapping[str, Any], value: float) -> str:
    """A mean cost in the document's unit."""
    return amount(value, Price(kind=document["cost"]["kind"]))
