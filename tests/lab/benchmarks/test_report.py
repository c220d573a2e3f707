"""What benchmark commands share."""

import json
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from ddnn.errors import BadInput
from ddnn_lab.benchmarks import command, environment, free_port, listening, write


def test_a_benchmark_writes_its_document_its_page_and_its_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "new", "quick", {"seconds": 1}, Figure(), page="# Quick\n")
    assert {file.name for file in (tmp_path / "new").iterdir()} == {"quick.json", "quick.md", "quick.png"}
    assert json.loads((tmp_path / "new" / "quick.json").read_text()) == {**environment(), "seconds": 1}
    assert (tmp_path / "new" / "quick.md").read_text() == capsys.readouterr().out == "# Quick\n"


def test_a_benchmark_without_a_figure_writes_no_plot(tmp_path: Path) -> None:
    write(tmp_path, "quick", {}, page="page\n")
    assert {file.name for file in tmp_path.iterdir()} == {"quick.json", "quick.md"}


def test_parameters_are_options_and_bad_input_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def main(rounds: int = 5) -> None:
        raise BadInput(f"rounds is {rounds}")

    monkeypatch.setattr(sys, "argv", ["benchmark", "--rounds", "3"])
    with pytest.raises(SystemExit, match="error: rounds is 3"):
        command("Doc.", main)


def test_the_environment_names_no_machine() -> None:
    assert set(environment()) == {"cores", "python", "system"}
    assert environment()["cores"] >= 1


def test_a_server_is_there_once_it_listens_and_ends_with_the_block() -> None:
    port = free_port()
    with listening("-m", "http.server", "--bind", "127.0.0.1", str(port), port=port) as pid:
        assert sys.platform != "linux" or Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()
