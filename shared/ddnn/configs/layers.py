"""TOML documents laid over each other: where two set a key, the later one has it."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddnn.errors import BadConfig

__all__ = ["merged", "read_toml"]


def read_toml(path: Path) -> dict[str, Any]:
    """The document in `path`; raise `BadConfig` naming it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"config {path} cannot be read ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"config {path} is not valid TOML: {error}") from error


def merged(base: Mapping[str, Any], changes: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """`base` with `changes` over it, table by table; raise `BadConfig` where a table would become something else."""
    document = dict(base)
    for key, value in changes.items():
        if isinstance(base.get(key), Mapping):
            if not isinstance(value, Mapping):
                raise BadConfig(f"{at}{key} is {value!r}; expected a table [{at}{key}]")
            document[key] = merged(base[key], value, f"{at}{key}.")
        else:
            document[key] = value
    return document
