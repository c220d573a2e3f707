"""Puts tables that benchmarks wrote into the page that tells of them, so that no figure is copied by hand."""

import re
from functools import partial
from pathlib import Path
from typing import Final

from ddnn.seal import write_atomically

__all__ = ["fill"]

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
    write_atomically(page, partial(_write, text))
    return missing


def _tables(text: str) -> list[str]:
    found = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [str(each) for each in found]


def _write(text: str, part: Path) -> None:
    part.write_text(text, encoding="utf-8")
