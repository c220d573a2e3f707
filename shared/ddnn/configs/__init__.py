"""Packaged configs: the paper's topologies `a` … `f`, `paper`, its blocks and training, and recipes for some data."""

from pathlib import Path
from typing import Final

from ddnn.errors import BadConfig

__all__ = ["config_file", "packaged_configs"]

CONFIGS: Final = Path(__file__).parent


def packaged_configs(folder: Path = CONFIGS) -> dict[str, Path]:
    """Name → file: the topologies, then the others, in order of their names."""
    files = sorted(folder.glob("*.toml"), key=lambda file: (len(file.stem) > 1, file.stem))
    return {file.stem: file for file in files}


def config_file(name: str, *, folder: Path = CONFIGS, what: str = "config") -> Path:
    """The packaged config of that name in `folder`; a path, with a folder or an ending in it, is itself.

    Raise `BadConfig`, listing the packaged ones, when there is none of that name.
    """
    if Path(name).suffix or "/" in name:
        return Path(name)
    known = packaged_configs(folder)
    if name not in known:
        raise BadConfig(f"{what} {name} is none of the packaged ones ({', '.join(known)}); a file's name ends in .toml")
    return known[name]
