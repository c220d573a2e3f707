"""Files out of `ddnn/templates`; pages share one style sheet, and ask the network for nothing."""

from collections.abc import Callable, Mapping
from typing import Any

from ddnn.formatting import percent, threshold

__all__ = ["render"]


def render(template: str, values: Mapping[str, Any], **filters: Callable[..., object]) -> str:
    """A template filled in, escaped where it is HTML; `filters` are beside `percent`, `threshold` and `whole`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("ddnn"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(percent=percent, threshold=threshold, whole="{:,}".format, **filters)
    return environment.get_template(template).render(values)
