"""JSON files that prove themselves: canonical text that carries a SHA-256 over the rest of itself."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from errno import EFBIG, EINVAL
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from ddnn.errors import BadBundle

__all__ = ["Frozen", "fingerprint", "first_problem", "read_sealed", "write_atomically", "write_sealed"]


_MOST: Final = 16 << 20  #: bytes of a document


class Frozen(BaseModel):
    """A document that neither changes nor has keys of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _text(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def fingerprint(document: Mapping[str, Any], seal: str) -> str:
    """Return the SHA-256, in hex, of the canonical text of `document` without its key `seal`."""
    return hashlib.sha256(_text({k: v for k, v in document.items() if k != seal})).hexdigest()


def write_sealed(path: Path, document: Mapping[str, Any], seal: str) -> str:
    """Write `document` with its fingerprint under the key `seal`; return the fingerprint."""
    value = fingerprint(document, seal)
    write_atomically(path, _text({**document, seal: value}))
    return value


def read_sealed(path: Path, seal: str) -> dict[str, Any]:
    """Read a file that `write_sealed` wrote; raise `BadBundle` if a single byte differs."""
    try:
        if path.exists() and not path.is_file():
            raise OSError(EINVAL, "it is no regular file")
        if path.stat().st_size > _MOST:
            raise OSError(EFBIG, f"it has {path.stat().st_size} bytes; expected at most {_MOST}")
        text = path.read_bytes()
    except OSError as error:
        raise BadBundle(f"{path.name}: cannot be read ({error.strerror}) in {path.parent}") from error
    try:
        document: dict[str, Any] = json.loads(text)
        # Text that Python reads but would not write, such as 1e999, raises ValueError here too.
        same = isinstance(document, dict) and document.get(seal) == fingerprint(document, seal)
    except (ValueError, RecursionError) as error:
        raise BadBundle(f"{path.name}: is not valid JSON ({error})") from error
    if not same or _text(document) != text:
        raise BadBundle(f"{path.name}: was changed after it was written (its {seal} does not match its content)")
    return document


def write_atomically(path: Path, content: str | bytes | Callable[[Path], object], *, mode: int = 0o644) -> None:
    """Fill a temporary file beside `path` with `content`, or by it, then rename it over `path`: never half a file."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        if callable(content):
            content(part)
        else:
            part.write_bytes(content.encode() if isinstance(content, str) else content)
        part.chmod(mode)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def first_problem(error: Any, whole: str) -> str:
    """`where is what: why` of the first thing that a `pydantic.ValidationError` found; `whole` names all of it."""
    first = error.errors()[0]
    where, value = ".".join(map(str, first["loc"])) or whole, repr(first["input"])
    return f"{where[:80]} is {value if len(value) <= 80 else value[:80] + '…'}: {first['msg']}"
