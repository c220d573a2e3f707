"""The pages: no dead link, no file, command or flag that is not there, and a site that builds without a warning."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from ddnn.cli.app import app

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "shared" / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


@cache
def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


@cache
def anchors(page: Path) -> set[str]:
    """What a link into a page may name: its headings, as GitHub and the site make anchors of them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Each link of a page to something in the tree: as written, its file, its anchor."""
    for link in LINK.findall(prose(page)):
        file, _, anchor = link.partition("#")
        if "://" not in link:
            yield link, (page.parent / file).resolve() if file else page, anchor


def test_every_link_resolves() -> None:
    checked = [(page, *link) for page in PAGES for link in links(page)]
    assert len(checked) > 100
    dead = [
        f"{page.relative_to(ROOT)}: {link}"
        for page, link, file, anchor in checked
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file))
    ]
    assert not dead


def test_every_page_that_the_code_names_is_there() -> None:
    named = re.compile(r"shared/docs/[\w/.-]+\.md")
    sources = [path for folder in ("shared", "device", "edge", "cloud") for path in (ROOT / folder).rglob("*.*")]
    sources = [path for path in sources if path.suffix in (".py", ".toml")]
    found = {page for path in sources for page in named.findall(path.read_text())}
    assert found
    assert not [page for page in found if not (ROOT / page).is_file()]


def test_the_map_names_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text.split("## The map")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "](" in line]
    assert len(rows) >= 8
    assert not [link for link in LINK.findall(table) if not (ROOT / link).exists()]


def commands_named(page: Path) -> Iterator[tuple[str, Any, list[str]]]:
    """Each `ddnn …` in a page's code: as written, the command itself or the word that is none, its flags."""
    text = page.read_text().replace("\\\n", " ")
    code = [line for block in FENCE.findall(text) for line in block.splitlines()] + re.findall(
        r"`([^`\n]+)`", prose(page)
    )
    for line in code:
        for words in re.findall(r"(?<![\w/.-])ddnn ([a-z][^|;&#`]*)", line):
            command: Any = typer.main.get_command(app)
            for word in words.split():
                if not hasattr(command, "commands"):
                    break
                command = command.commands.get(word, word)
            own = words.partition(" -- ")[0]  # what follows is another command's
            yield line, command, re.findall(r"(?<!\S)--[a-z][a-z-]*", own)


def test_every_command_and_flag_in_a_page_exists() -> None:
    pages = [page for page in PAGES if page.name != "CHANGELOG.md" and "results" not in page.parts]
    named = [(page, *each) for page in pages for each in commands_named(page)]
    assert len(named) > 60
    wrong = []
    for page, line, command, flags in named:
        known = {
            "--help",
            *(flag for one in getattr(command, "params", ()) for flag in (*one.opts, *one.secondary_opts)),
        }
        if isinstance(command, str) or not {*flags} <= known:
            wrong.append(f"{page.relative_to(ROOT)}: {line.strip()}")
    assert not wrong, "\n".join(wrong)


def test_every_name_that_a_page_imports_exists() -> None:
    blocks = [
        block
        for page in PAGES
        for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    ]
    nodes = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
    imported = [
        (node.module, name.name) for node in nodes if (node.module or "").startswith("ddnn") for name in node.names
    ]
    assert len(imported) > 15
    assert not [(module, name) for module, name in imported if not hasattr(import_module(module or ""), name)]


def test_every_line_of_the_threats_names_a_test_that_exists() -> None:
    page = ROOT / "shared" / "docs" / "threats.md"
    lines = [line for line in page.read_text().splitlines() if line.startswith("| ")][2:]
    named = {line: re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", line.rsplit(" | ", 1)[1]) for line in lines}
    assert len(named) > 15
    assert not [line for line, tests in named.items() if not tests]
    for name, file in (test for tests in named.values() for test in tests):
        assert f"def {name}(" in (page.parent / file).read_text(), name


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(tmp_path / "trees")]
    done = subprocess.run(
        [*build, str(ROOT / "shared" / "docs"), str(tmp_path / "site")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "searchindex.js").is_file()
    loaded = re.compile(r"""(?:src|href)=["']https?://[^"']+\.(?:css|js|woff2?)\b""")
    assert not [str(page) for page in (tmp_path / "site").rglob("*.html") if loaded.search(page.read_text())]
