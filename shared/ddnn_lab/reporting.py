"""Reports in Markdown, made of the templates beside this file.

A spread is `{"mean", "low", "high", "values"}`: a number over runs, and its interval where it has one.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from ddnn.formatting import NONE, clock, number, percent, signed

__all__ = ["Spread", "mean", "points", "render", "share"]

Spread = Mapping[str, Any]


def share(value: Spread | None, digits: int = 1) -> str:
    """`98.4 (98.1–98.7)`: a share in percent, with its interval if it has one."""
    if value is None:
        return NONE
    text = f"{100 * value['mean']:.{digits}f}"
    if value["low"] is None:
        return text
    low, high = (100 * min(max(value[key], 0.0), 1.0) for key in ("low", "high"))
    return f"{text} ({low:.{digits}f}–{high:.{digits}f})"


def points(value: Spread | None, digits: int = 2) -> str:
    """`+0.31 (−0.05 to +0.67)`: a difference of shares in percentage points, with its interval if it has one."""
    if value is None:
        return NONE
    text, low, high = (signed(100 * (value[key] or 0.0), digits) for key in ("mean", "low", "high"))
    return text if value["low"] is None else f"{text} ({low} to {high})"


def mean(value: Spread | None, digits: int = 1) -> str:
    """The mean of a plain number."""
    return number(value["mean"] if value else None, digits)


def fixed(value: float, digits: int = 0) -> str:
    """`1,234.50`, with so many digits."""
    return f"{value:,.{digits}f}"


# Pages of Markdown, in which nothing is to be escaped for HTML.
_TEMPLATES: Final = Environment(  # nosec B701
    loader=PackageLoader("ddnn_lab"), trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
)
_TEMPLATES.filters.update(
    clock=clock, fixed=fixed, mean=mean, number=number, percent=percent, points=points, share=share, signed=signed
)


def render(template: str, **values: Any) -> str:
    """A template filled in, one empty line between its blocks."""
    return re.sub(r"\n{3,}", "\n\n", _TEMPLATES.get_template(template).render(values)).strip() + "\n"
