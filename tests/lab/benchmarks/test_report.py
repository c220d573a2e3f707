"""What benchmark commands share."""

import json
import sys
from pathlib import Path

import pytest

from ddnn_lab.benchmarks.report import environment, free_port, listening, options, write


def test_a_benchmark_writes_its_document_its_page_and_its_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "new", "quick", {"seconds": 1}, "# Quick", lambda file: file.write_bytes(b"plot"))
    assert {file.name for file in (tmp_path / "new").iterdir()} == {"quick.json", "quick.md", "quick.png"}
    assert json.loads((tmp_path / "new" / "quick.json").read_text()) == {"seconds": 1}
    assert (tmp_path / "new" / "quick.md").read_text() == capsys.readouterr().out == "# Quick\n"


def test_other_names_and_no_plot(tmp_path: Path) -> None:
    write(tmp_path, "quick", [], "page", files=("results.json", "report.md"))
    assert {file.name for file in tmp_path.iterdir()} == {"results.json", "report.md"}


def test_only_what_writes_files_takes_a_folder() -> None:
    assert options("Doc.").parse_args(["--out", "here"]).out == Path("here")
    assert "out" not in vars(options("Doc.", out=False).parse_args([]))


def test_the_environment_names_no_machine() -> None:
    assert set(environment()) == {"cores", "python", "system"}
    assert environment()["cores"] >= 1


def test_a_server_is_there_once_it_listens_and_ends_with_the_block() -> None:
    port = free_port()
    with listening("-m", "http.server", "--bind", "127.0.0.1", str(port), port=port) as pid:
        assert sys.platform != "linux" or Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()
