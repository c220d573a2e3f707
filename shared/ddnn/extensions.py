"""What may not be installed: a user's own `package.module:attribute`, and packages of an extra.

Commands load what their user's configuration names; a served tier only modules that `DDNN_EXTENSIONS` lists.
"""

import re
import shlex
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from ddnn.errors import BadConfig, BadInput

__all__ = ["how_to_install", "is_extension", "needed_for", "refuse_unlisted", "resolve"]

_NAME: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_extension(name: str) -> bool:
    """Whether `name` has the form `package.module:attribute`."""
    return _NAME.fullmatch(name) is not None


def resolve(name: str, key: str, built_in: Iterable[str] = ()) -> Any:
    """Import what can be called as `name`, which `key` has; raise `BadConfig` where that is not to be had."""
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


def how_to_install(extra: str = "train") -> str:
    """The pip command for the interpreter that runs now, from the registry and from a clone."""
    pip = f"{shlex.quote(sys.executable)} -m pip install"
    return f"run `{pip} \"ddnn[{extra}]\"`, or in a clone of the repository `{pip} -e '.[{extra}]'`"


@contextmanager
def needed_for(what: str, *, extra: str = "train") -> Iterator[None]:
    """Make of an import that fails meanwhile a `BadInput` that says what to install."""
    try:
        yield
    except ImportError as error:
        sentence = f"{what} needs {error.name}, which is not installed; {how_to_install(extra)}"
        raise BadInput(sentence) from error
