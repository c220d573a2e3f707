"""What to type when a package of an extra is missing."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ddnn.errors import BadInput

__all__ = ["how_to_install", "needed_for"]


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
