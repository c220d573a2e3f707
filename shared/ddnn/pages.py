"""Pages of HTML out of `ddnn/templates`, which share one style sheet; a page asks the network for nothing."""

from collections.abc import Callable, Mapping
from typing import Any

from ddnn.extensions import needed_for
from ddnn.formatting import percent, threshold

__all__ = ["render"]


def render(template: str, values: Mapping[str, Any], **filters: Callable[..., object]) -> str:
    """A template filled in; `filters` are its own, beside `percent`, `threshold` and `whole`.

    Raises `BadInput` where jinja2, which comes with the extra `train`, is not installed.
    """
    with needed_for("a page"):
        from jinja2 import Environment, PackageLoader, StrictUndefined
    environment = Environment(
        loader=PackageLoader("ddnn"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=percent, threshold=threshold, whole="{:,}".format, **filters)
    return environment.get_template(template).render(values)
