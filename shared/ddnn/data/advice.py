"""What to type when a package that training needs is missing."""

import shlex
import sys

__all__ = ["how_to_install"]


def how_to_install() -> str:
    """The pip command for the interpreter that runs now, from the registry and from a clone."""
    pip = f"{shlex.quote(sys.executable)} -m pip install"
    return f"run `{pip} \"ddnn[train]\"`, or in a clone of the repository `{pip} -e '.[train]'`"
