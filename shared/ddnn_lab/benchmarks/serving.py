"""All that shared/docs/performance.md shows, in one run: each benchmark in turn, then the table of targets.

`python -m ddnn_lab.benchmarks.serving --out shared/docs/results/serving --page shared/docs/performance.md`, about
twenty minutes on two cores without other load. `--only scale --only load` runs those, `--only table` none; the
comparison with peers takes MNIST by `--digits`. Tables of what is in the folder already are kept.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from ddnn.bundle import shipped_bundle
from ddnn.errors import BadInput
from ddnn.seal import write_atomically
from ddnn_lab.benchmarks import Out, command
from ddnn_lab.reporting import render

__all__ = ["COMMANDS", "READERS", "fill"]

_BLOCK: Final = re.compile(r"(<!-- made: (\S+)((?: \d+)*) -->\n).*?(<!-- /made -->)", re.DOTALL)
"""`<!-- made: load/report.md 0 -->` … `<!-- /made -->` holds table 0 of that file; no number: all of its tables."""
_TABLE: Final = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
LINKS: Final = ("--link", "device-edge=2ms,100mbit", "--link", "edge-cloud=40ms,10mbit")
SERVE: Final = ("-m", "ddnn", "bench", "serve", os.path.relpath(shipped_bundle()), "mnist5k")
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "hotpath": ("-m", "ddnn_lab.benchmarks.hotpath"),
    "saturation": ("-m", "ddnn_lab.benchmarks.saturation"),
    "scale": ("-m", "ddnn_lab.benchmarks.scale"),
    "load": SERVE,
    "load-linked": (*SERVE, *LINKS),
    "peers": ("-m", "ddnn_lab.peers"),
}
"""What `python` is given, by the folder that each writes into; all take --out."""
READERS: Final = {"hotpath": "hotpath.json", "peers": "results.json", "scale": "scale.json"}
"""Benchmarks that have targets, and the file in its folder that says how they were met."""


def fill(page: Path, out: Path) -> list[str]:
    """Rewrite the blocks of `page` whose files are in `out`; return the files that are not there."""
    missing: list[str] = []

    def block(match: re.Match[str]) -> str:
        begin, file, numbers, end = match.groups()
        if not (out / file).is_file():
            missing.append(file)
            return match[0]
        tables = _TABLE.findall((out / file).read_text(encoding="utf-8"))
        return f"{begin}\n" + "\n".join([tables[int(n)] for n in numbers.split()] or tables) + f"\n{end}"

    write_atomically(page, _BLOCK.sub(block, page.read_text(encoding="utf-8")))
    return missing


def table(out: Path) -> str:
    """All targets; raise `BadInput` where a benchmark has not been run: its rows are not to be lost."""
    documents = {}
    for name, file in READERS.items():
        try:
            documents[name] = json.loads((out / name / file).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInput(f"{out / name / file} is not there; expected what `--only {name}` writes") from None
    return render("targets.md", **documents)


def run(name: str, out: Path, *more: str) -> int:
    """Run one benchmark into its folder, which is made; its exit code."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [*COMMANDS[name], "--out", os.path.relpath(folder), *more]  # reports name no folders of a machine
    print(f"\n$ python {shlex.join(arguments)}", flush=True)
    begin = time.monotonic()
    code = subprocess.run([sys.executable, *arguments], check=False).returncode
    print(f"{name}: exit code {code}, {time.monotonic() - begin:.0f} s", flush=True)
    return code


def main(
    out: Out,
    only: Annotated[list[str] | None, typer.Option(help="Only this, or `table`; may be repeated.")] = None,
    page: Annotated[Path | None, typer.Option(help="Put the tables into this page's blocks.")] = None,
    digits: Annotated[Path | None, typer.Option(help="MNIST in Keras form, for the comparison with peers.")] = None,
) -> None:
    """Run, print the targets, and exit with 1 if a benchmark failed to run."""
    if unknown := set(only or ()) - {*COMMANDS, "table"}:
        raise BadInput(f"--only is {', '.join(sorted(unknown))}; expected one of {', '.join(COMMANDS)}, table")
    out = out.absolute()
    more = {"peers": ("--digits", os.path.relpath(digits))} if digits else {}
    # A benchmark that finds its own target missed may say so by its exit code; the table does.
    codes = {name: run(name, out, *more.get(name, ())) for name in COMMANDS if not only or name in only}
    write_atomically(out / "targets.md", text := table(out))
    print(f"\n{text}")
    for file in fill(page, out) if page else ():
        print(f"{page} keeps its old table: {file} is not there", file=sys.stderr)
    if failed := [name for name, code in codes.items() if code not in (0, 1)]:
        raise SystemExit(f"could not be run: {', '.join(failed)}")


if __name__ == "__main__":
    command(__doc__, main)
