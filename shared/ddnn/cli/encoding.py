"""Output that is not UTF-8: signs that its encoding lacks are written as others, instead of an error."""

import codecs
import io
import os
import sys
from typing import Final

__all__ = ["prepare_output"]

_ERRORS: Final = "ddnn.plain"
_PLAIN: Final = {
    "●": "#",
    "○": ".",
    "✓": "+",
    "✗": "x",
    "→": "->",
    "…": "...",
    "·": "-",
    "×": "x",
    "²": "2",
    **dict.fromkeys("—–−‑─━", "-"),
}


def prepare_output() -> None:
    """Let standard output and error take any text, in whatever encoding; where they are closed, it goes nowhere."""
    codecs.register_error(_ERRORS, _plainly)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed before the process began
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end
