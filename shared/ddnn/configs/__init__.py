"""Packaged configs: the paper's topologies `a` … `f`, `paper`, its blocks and training, and recipes for some data."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ddnn.errors import BadConfig

__all__ = ["config_file", "merged", "packaged_configs", "read_toml"]

CONFIGS: Final = Path(__file__).parent


def packaged_configs(folder: Path = CONFIGS) -> dict[str, Path]:
    """Name → file: the topologies, then the others, in order of their names."""
    files = sorted(folder.glob("*.toml"), key=lambda file: (len(file.stem) > 1, file.stem))
    return {file.stem: file for file in files}


def config_file(name: str, *, folder: Path = CONFIGS, what: str = "config") -> Path:
    """The packaged config of that name in `folder`, or the path that it is; raise `BadConfig` listing what there is."""
    if Path(name).suffix or "/" in name:
        return Path(name)
    known = packaged_configs(folder)
    if name not in known:
        raise BadConfig(f"{what} {name} is none of the packaged ones ({', '.join(known)}); a file's name ends in .toml")
    return known[name]


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
