"""The compose file of a federated training: a server and sites as containers of one machine, each with its own data."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ddnn.errors import BadInput
from ddnn.fleet.compose import from_here
from ddnn.pages import render

__all__ = ["PORT", "federation_file"]

PORT: Final = 8700
"""That the server listens on."""
_TAKEN: Final = ("identity", "server")
"""Services that are no sites."""


def federation_file(
    source: str,
    sites: Mapping[str, str],
    *,
    grid: str | None = None,
    configs: Sequence[str] = (),
    options: Sequence[str] = (),
    command: str = "ddnn deploy federation",
) -> str:
    """The file for a server with `source` and a service for each of the `sites`, by name, with its own data.

    Data and configs that are here are mounted read-only, for the one service; what is not is known by name. `options`
    are those of `ddnn federate serve`; `command` is told in the file. Raise `BadInput` for a site's name.
    """
    for name in sites:
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name in _TAKEN:
            expected = f"letters, digits, dots, dashes, and not {' or '.join(_TAKEN)}"
            raise BadInput(f"a site is called {name[:80]!r}; expected {expected}")
    cut = ["--grid", grid] if grid else []
    where, mounts = _seen(source, "data")
    wanted = []
    for index, config in enumerate(configs):
        path, mounted = _seen(config, f"config-{index}")
        wanted += ["--config", path]
        mounts += mounted
    tls = ["--host", "0.0.0.0", "--certificate", "/identity/tier.pem", "--key", "/identity/tier.pem"]  # nosec B104
    serve = ["federate", "serve", where, "--out", "/out/bundle", *tls, "--sites", str(len(sites)), *cut, *wanted]
    services = []
    for name, data in sites.items():
        where, mounted = _seen(data, "data")
        join = ["federate", "join", f"https://server:{PORT}", where, "--name", name, "--ca", "/site/authority.pem"]
        services.append({"name": name, "command": _line([*join, *cut]), "mount": "".join(mounted)})
    values = {
        "command": command,
        "port": PORT,
        "server": _line([*serve, *options]),
        "sites": services,
        "mounts": mounts,
    }
    return render("federation.yml", values)


def _seen(source: str, folder: str) -> tuple[str, list[str]]:
    """What a container calls a file or folder of this machine, and how it comes there; a name stays what it is."""
    path = Path(source)
    if not path.exists():
        return source, []
    inside = f"/{folder}/{path.name}"
    return inside, [f"{from_here(path)}:{inside}:ro"]


def _line(words: Sequence[str]) -> str:
    """A command as a file of compose has it, where a dollar begins a variable."""
    return shlex.join(words).replace("$", "$$")
