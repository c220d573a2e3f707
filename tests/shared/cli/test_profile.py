"""`ddnn profile` on the tiny bundle."""

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from ddnn.bundle import Bundle
from ddnn.cli.app import app
from ddnn.errors import BadInput
from ddnn.tuning.profile import Profile


def run(*args: object) -> Result:
    return CliRunner().invoke(app, ["profile", *(str(arg) for arg in args)])


def test_profile_prints_the_document_alone_and_writes_it(tiny_bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "profile.json"
    result = run(tiny_bundle.path, "--repeat", 2, "--out", out, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads(out.read_text())
    assert Profile.read(out, tiny_bundle).repeat == 2


def test_profile_shows_a_row_for_each_section(tiny_bundle: Bundle) -> None:
    shown = run(tiny_bundle.path, "--repeat", 2).stdout
    for words in (
        "A run of 1 event on 1 thread, 2 runs of each section",
        "device 5",
        "local exit",
        "edge",
        "cloud",
        "p95",
    ):
        assert words in shown


def test_a_file_that_cannot_be_written_is_refused_first(tiny_bundle: Bundle, tmp_path: Path) -> None:
    result = run(tiny_bundle.path, "--out", tmp_path / "none" / "profile.json")
    assert isinstance(result.exception, BadInput)
    assert "expected a file in a folder that exists" in str(result.exception)
