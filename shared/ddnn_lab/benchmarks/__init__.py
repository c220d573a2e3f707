"""Benchmarks, each a command such as `python -m ddnn_lab.benchmarks.serving --help`, and what they share."""

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
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ddnn.errors import DDNNError
from ddnn.seal import write_atomically
from ddnn_lab.reporting import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RESULTS", "Out", "Quick", "command", "environment", "free_port", "listening", "write"]

RESULTS: Final = Path("results")
Out = Annotated[Path, typer.Option(help="Folder for the files that it writes.")]
Quick = Annotated[bool, typer.Option("--quick", help="The least of it: does it all work?")]


def command(doc: str | None, *functions: Callable[..., object]) -> None:
    """Run the function that the command line names, or the only one; its parameters are the options."""
    app = typer.Typer(help=doc, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    for function in functions:
        app.command(help=doc if len(functions) == 1 else None)(function)
    try:
        app()
    except DDNNError as error:
        sys.exit(f"error: {error}")


def environment() -> dict[str, Any]:
    """What figures depend on: cores that this process may use, Python, system."""
    system = f"{platform.system()} {platform.machine()}"
    return {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version(), "system": system}


def write(
    out: Path, name: str, document: dict[str, Any], figure: "Figure | None" = None, *, page: str = "", **words: Any
) -> None:
    """Write `name.json` with the environment, `name.md` and, of a figure, `name.png`; print the page.

    The page is the template of that name, filled with the document and `words`, unless it is given.
    """
    page = page or render(f"{name}.md", **document, **words)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / f"{name}.json", json.dumps({**environment(), **document}, indent=1) + "\n")
    write_atomically(out / f"{name}.md", page)
    if figure:
        from ddnn_lab.plots import save

        save(figure, out / f"{name}.png")
    print(page, end="")


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def listening(*arguments: str, port: int, cpu: int | None = None, **settings: str) -> Iterator[int]:
    """The process id of `python arguments…`, once it listens on `port`; on one CPU where `cpu` is given."""
    pin = ["taskset", "--cpu-list", str(cpu)] if cpu is not None else []
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", **settings}
    process = subprocess.Popen([*pin, sys.executable, *arguments], env=one_thread, stderr=subprocess.DEVNULL)
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
