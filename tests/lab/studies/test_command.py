"""`ddnn bench accuracy`, as a person meets it; and the paper's own tables on data like its own."""

import json
import sys
from pathlib import Path

import pytest

from ddnn.cli.app import main
from ddnn.extensions import how_to_install
from mvmc_stand_in import write_mvmc


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ddnn", "bench", "accuracy", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.long
@pytest.mark.slow
def test_the_papers_tables_come_from_its_own_data_with_one_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data, out = write_mvmc(tmp_path, events=240), tmp_path / "study"
    parts = [word for part in ("joint", "without", "added", "filters") for word in ("--only", part)]
    words = ["paper", "--data", str(data), "--out", str(out), "--quick", "--json", *parts]
    assert run(monkeypatch, *words) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert "joint, seed 0: done" in captured.err
    assert found["config"]["network"]["blocks"] == "binary"
    assert found["data"]["exits"] == ["device", "local", "cloud"]
    text = (out / "report.md").read_text()
    for title in ("The local exit's threshold", "Devices added", "Filters sent up", "One device lost"):
        assert title in text
    bytes_up = found["parts"]["joint"]["thresholds"]["paper"][0]["formula"]["mean"]
    assert bytes_up == 140  # the paper's 12 + 4·256/8, nothing leaving locally


def test_a_wrong_study_ends_with_a_sentence_and_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, str(tmp_path / "none.toml")) == 2
    assert "none.toml cannot be read" in capsys.readouterr().err
    assert run(monkeypatch, "mnist_5k") == 2
    assert "study mnist_5k is none of the packaged ones (dsads, eth80, " in capsys.readouterr().err
    assert run(monkeypatch, "quick", "--only", "everything") == 2
    assert "run.0 is 'everything'" in capsys.readouterr().err
    assert run(monkeypatch, "quick", "--seeds", "one") == 2
    assert "--seeds is 'one'; expected whole numbers" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_its_packages_a_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ddnn_lab.studies", None)
    assert run(monkeypatch, "quick") == 2
    assert how_to_install("lab") in capsys.readouterr().err
