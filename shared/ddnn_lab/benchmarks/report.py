"""What benchmark commands share: options, a server as a process, the files that one writes, the machine it ran on."""

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ddnn.seal import write_atomically

__all__ = ["environment", "free_port", "listening", "options", "write"]


def options(doc: str | None, *, out: bool = True) -> argparse.ArgumentParser:
    """A parser that shows a module's docstring, with `--out FOLDER` where the benchmark writes files."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if out:
        parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the files that it writes")
    return parser


def environment() -> dict[str, Any]:
    """What figures depend on: cores that this process may use, Python, system."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def write(
    out: Path,
    name: str,
    document: Any,
    page: str,
    draw: Callable[[Path], object] | None = None,
    *,
    files: tuple[str, str] | None = None,
) -> None:
    """Write `name.json`, `name.md` and, where there is something to draw, `name.png`; print the page.

    `files` are other names of the first two.
    """
    as_json, as_markdown = files or (f"{name}.json", f"{name}.md")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / as_json, json.dumps(document, indent=1) + "\n")
    write_atomically(out / as_markdown, page.rstrip("\n") + "\n")
    if draw:
        draw(out / f"{name}.png")
    print(page)


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def listening(*command: str, port: int, cpu: int | None = None) -> Iterator[int]:
    """The process id of `python command…`, once it listens on `port`; on one CPU where `cpu` is given."""
    pin = ["taskset", "--cpu-list", str(cpu)] if cpu is not None else []
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*pin, sys.executable, *command], env=one_thread, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)
