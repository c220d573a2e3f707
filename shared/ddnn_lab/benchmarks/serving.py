"""All that shared/docs/performance.md tells, in one run: each benchmark in turn, then the table of targets.

`python -m ddnn_lab.benchmarks.serving --out shared/docs/results/serving --page shared/docs/performance.md`, about
twenty minutes on two cores without other load. `--only scale --only load` runs those, `--only table` none; the
comparison with peers takes MNIST by `--digits`. Tables of what is in the folder already are kept.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from ddnn.bundle import shipped_bundle
from ddnn.errors import BadInput
from ddnn.seal import write_atomically

__all__ = ["fill", "main"]

_BLOCK: Final = re.compile(r"(<!-- made: (\S+)((?: \d+)*) -->\n).*?(<!-- /made -->)", re.DOTALL)
"""`<!-- made: load/report.md 0 -->` … `<!-- /made -->` holds table 0 of that file; no number: all of its tables."""


def fill(page: Path, out: Path) -> list[str]:
    """Rewrite the blocks of `page` whose files are in `out`; return the files that are not there."""
    missing: list[str] = []

    def block(match: re.Match[str]) -> str:
        begin, file, numbers, end = match.groups()
        if not (out / file).is_file():
            missing.append(file)
            return match[0]
        tables = _tables((out / file).read_text(encoding="utf-8"))
        wanted = [tables[int(number)] for number in numbers.split()] or tables
        return f"{begin}\n" + "\n".join(wanted) + f"\n{end}"

    text = _BLOCK.sub(block, page.read_text(encoding="utf-8"))
    write_atomically(page, text)
    return missing


def _tables(text: str) -> list[str]:
    found = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [str(each) for each in found]


LINKS: Final = ("--link", "device-edge=2ms,100mbit", "--link", "edge-cloud=40ms,10mbit")
SERVE: Final = ("-m", "ddnn", "bench", "serve", os.path.relpath(shipped_bundle()), "mnist5k")
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "hotpath": ("-m", "ddnn_lab.benchmarks.hotpath"),
    "uplink": ("-m", "ddnn_lab.benchmarks.uplink_cpu"),
    "saturation": ("-m", "ddnn_lab.benchmarks.saturation"),
    "scale": ("-m", "ddnn_lab.benchmarks.scale"),
    "load": SERVE,
    "load-linked": (*SERVE, *LINKS),
    "peers": ("-m", "ddnn_lab.peers"),
}
"""What `python` is given, by the folder that each writes into; all take --out."""


class Row(NamedTuple):
    """One target."""

    name: str
    wanted: str
    found: str
    met: bool | None
    """None where it is not measured."""
    by: str
    """Which benchmark says so."""


def hotpath(found: Mapping[str, Any]) -> Iterator[Row]:
    """One tier against a bare route, and alone."""
    tiers = found["tiers"]
    shares = {tier: each["of_fastapi"] for tier, each in tiers.items()}
    yield Row(
        "one tier against a bare FastAPI route, requests/s at 16 concurrent",
        "≥ 0.9×",
        ", ".join(f"{tier} {share:.2f}×" for tier, share in shares.items()),
        all(share >= 0.9 for share in shares.values()),
        "hotpath",
    )
    times = {tier: each["framework_ms"] for tier, each in tiers.items()}
    yield Row(
        "framework time a tier adds at concurrency 1, section excluded, p50",
        "≤ 1 ms",
        ", ".join(f"{tier} {value:.2f} ms" for tier, value in times.items()),
        all(value <= 1 for value in times.values()),
        "hotpath",
    )


def uplink(found: Mapping[str, Any]) -> Iterator[Row]:
    """The way up against stock httpx."""
    shares = found["share_of_httpx"]
    yield Row(
        "client CPU per hop, 16 concurrent, against stock httpx",
        "≤ 1/5",
        ", ".join(f"1/{1 / share:.1f} ({int(size) // 1000} kB)" for size, share in shares.items()),
        all(share <= 0.2 for share in shares.values()),
        "uplink",
    )


def peers(found: Mapping[str, Any]) -> Iterator[Row]:
    """What the comparison says of itself."""
    for each in found["targets"]:
        yield Row(each["name"], each["wanted"], f"{each['found']:.3g} ({each['note']})", each["met"], "peers")


def scale(found: Mapping[str, Any]) -> Iterator[Row]:
    """From one device to 64."""
    verdict = found["verdict"]
    told = verdict["cost_against_one_device"].items()
    ratios = ", ".join("not measured" if value is None else f"{value:.2f}× answered at {name}" for name, value in told)
    yield Row(
        f"cost per device and event, {verdict['devices']} devices against 1",
        "flat or falling",
        ratios,
        verdict["flat_or_falling"],
        "scale",
    )


READERS: Final[dict[str, tuple[str, Callable[[Any], Iterator[Row]]]]] = {
    "hotpath": ("hotpath.json", hotpath),
    "uplink": ("uplink_cpu.json", uplink),
    "peers": ("results.json", peers),
    "scale": ("results.json", scale),
}
"""Who tells of targets: the file in its folder, and how it is read."""


def rows(out: Path) -> Iterator[Row]:
    """Every target; raise `BadInput` where a benchmark has not been run: its rows are not to be lost."""
    for name, (file, read) in READERS.items():
        try:
            found = json.loads((out / name / file).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInput(f"{out / name / file} is not there; expected what `--only {name}` writes") from None
        yield from read(found)


def table(told: Iterator[Row]) -> str:
    """Markdown."""
    words = {True: "yes", False: "**no**", None: "—"}
    lines = ["| target | wanted | found | | measured by |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {row.name} | {row.wanted} | {row.found} | {words[row.met]} | `{row.by}` |" for row in told]
    return "\n".join(lines) + "\n"


def run(name: str, out: Path, more: list[str]) -> int:
    """Run one benchmark into its folder, which is made; its exit code."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    command = [*COMMANDS[name], "--out", os.path.relpath(folder), *more]  # reports name no folders of a machine
    print(f"\n$ python {shlex.join(command)}", flush=True)
    begin = time.monotonic()
    code = subprocess.run([sys.executable, *command], check=False).returncode
    print(f"{name}: exit code {code}, {time.monotonic() - begin:.0f} s", flush=True)
    return code


def main() -> int:
    """Run, tell, and return 1 if a benchmark failed to run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder; each benchmark has one of its own in it")
    parser.add_argument("--only", action="append", choices=[*COMMANDS, "table"], help="only this; may be repeated")
    parser.add_argument("--page", type=Path, help="put the tables into this page's blocks, shared/docs/performance.md")
    parser.add_argument("--digits", type=Path, help="MNIST in Keras form, for the comparison with peers")
    given = parser.parse_args()
    out = given.out.absolute()
    wanted = [name for name in COMMANDS if not given.only or name in given.only]
    digits = ["--digits", os.path.relpath(given.digits)] if given.digits else []
    # A benchmark that finds its own target missed may say so by its exit code; the table does.
    codes = {name: run(name, out, digits if name == "peers" else []) for name in wanted}
    try:
        text = table(rows(out))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    write_atomically(out / "targets.md", text)
    print(f"\n{text}")
    if given.page:
        for file in fill(given.page, out):
            print(f"{given.page.name} keeps its old table: {file} is not there", file=sys.stderr)
    failed = [name for name, code in codes.items() if code not in (0, 1)]
    if failed:
        print(f"could not be run: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
