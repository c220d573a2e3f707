"""A user's own codec, section, criterion or task, named as `package.module:attribute`.

The command line loads what its user's own configuration names. A served tier gets names from bundles and policies, so
it first refuses every module that its setting `DDNN_EXTENSIONS` does not list.
"""

import re
from collections.abc import Collection, Iterable
from importlib import import_module
from typing import Any, Final

from ddnn.errors import BadConfig

__all__ = ["is_extension", "refuse_unlisted", "resolve"]

_NAME: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_extension(name: str) -> bool:
    """Whether `name` has the form `package.module:attribute`."""
    return _NAME.fullmatch(name) is not None


def resolve(name: str, key: str, built_in: Iterable[str] = ()) -> Any:
    """Import what `name` stands for, something that can be called; `key` is where the name was found.

    Raises `BadConfig` where the name has another form, its module cannot be imported or has no such attribute.
    """
    if not is_extension(name):
        expected = ", ".join((*built_in, "package.module:attribute"))
        raise BadConfig(f"{key} is {name!r}; expected one of {expected}")
    module, _, attribute = name.partition(":")
    try:
        value = getattr(import_module(module), attribute)
    except AttributeError as error:
        raise BadConfig(f"{key} is {name!r}: the module {module} has no {attribute!r}") from error
    except Exception as error:  # a foreign module may raise anything while it is imported
        raise BadConfig(f"{key} is {name!r}: the module {module} cannot be imported ({error})") from error
    if not callable(value):
        raise BadConfig(f"{key} is {name!r}: found a {type(value).__name__}; expected something that can be called")
    return value


def refuse_unlisted(names: Iterable[str], allowed: Collection[str]) -> None:
    """Raise `BadConfig` unless `allowed` lists the module, or a package above it, of every extension in `names`."""
    for name in names:
        module = name.partition(":")[0]
        if is_extension(name) and not any(f"{module}.".startswith(f"{entry}.") for entry in allowed):
            raise BadConfig(
                f"{name!r} is an extension that DDNN_EXTENSIONS does not list; it is"
                f" {','.join(allowed) or 'empty'}, and expected to have {module}"
            )
