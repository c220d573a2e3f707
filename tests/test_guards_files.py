"""The shape of the source: short files, absolute imports, nothing of anybody's machine, nothing left to do."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("shared", "device", "edge", "cloud", "tests")
HIDDEN = (".ci/run", ".dockerignore", ".env.example", ".gitignore", ".pre-commit-config.yaml")
"""By name: other hidden files are a person's own."""
TEXT = {".py", ".md", ".toml", ".yml", ".yaml", ".json", ".sh", ".txt", ".example", ""}
MOST_LINES = 400
MACHINE = re.compile(r"/(?:home|root|Users|work|mnt)/[A-Za-z]")
UNFINISHED = re.compile(r"\b(?:TO[D]O|FIX[M]E|X{3}|HA[C]K)\b")


def files(*endings: str) -> list[Path]:
    found = [path for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".")]
    found += [ROOT / hidden for hidden in HIDDEN]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(path for path in found if path.suffix in endings)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


PYTHON = files(".py")


def test_there_are_files_to_look_at() -> None:
    assert len(PYTHON) > 100


def test_hidden_files_are_looked_at_too() -> None:
    assert {*HIDDEN} <= {name(path) for path in files(*TEXT)}


def test_modules_are_short() -> None:
    assert not {name(path): lines for path in PYTHON if (lines := path.read_text().count("\n")) > MOST_LINES}


def test_no_file_names_somebodys_machine_or_is_unfinished() -> None:
    found = [
        f"{name(path)}:{number}: {line.strip()}"
        for path in files(*TEXT)
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if MACHINE.search(line) or UNFINISHED.search(line)
    ]
    assert not found, "\n".join(found)


def test_folders_are_named_after_what_is_in_them() -> None:
    vague = {"utils", "util", "helpers", "common", "manager", "misc"}
    assert not [name(path) for path in PYTHON if vague & {path.stem, *path.parent.relative_to(ROOT).parts}]
