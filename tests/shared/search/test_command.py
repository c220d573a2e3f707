"""`ddnn search` from the command line."""

import json
import sys
import tomllib
from pathlib import Path

import pytest

from ddnn.bundle import Bundle
from ddnn.cli.app import main

TINY = """
[network.device]
filters = [4]
cut_filters = 2
[network.edge]
widths = [8]
[network.cloud]
widths = [8]
[training]
epochs = 2
"""
SPACE = "[network.device]\ncut_filters = [1, 2]\n[network.cloud]\nwidths = [[8], [16]]\n"


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ddnn", "search", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    return end.value.code


def test_a_space_is_shown_as_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "synthetic", "--out", str(tmp_path / "b"), "--show-space") == 0
    shown = tomllib.loads(capsys.readouterr().out)
    assert shown["network"]["device"]["cut_codec"] == ["bits1", "bits2", "bits4"]
    assert not list(tmp_path.iterdir())


def test_wishes_that_make_no_sense_are_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "b")
    assert run(monkeypatch, "synthetic", "--out", out, "--per", "hour") == 2
    assert "--per is hour; expected event or round" in capsys.readouterr().err
    (tmp_path / "b.search").mkdir()
    (tmp_path / "b.search" / "archive.jsonl").write_text("")
    assert run(monkeypatch, "synthetic", "--out", out) == 2
    assert "b.search holds a search already; add --resume" in capsys.readouterr().err


@pytest.mark.long
def test_a_search_ends_in_a_bundle_and_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "space.toml").write_text(SPACE)
    files = ["--config", str(tmp_path / "tiny.toml"), "--space", str(tmp_path / "space.toml")]
    wishes = ["--trials", "4", "--population", "4", "--epochs", "1", "--against", "mnist5k", "--json"]
    words = ["synthetic", "--out", str(tmp_path / "b"), *files, *wishes]
    assert run(monkeypatch, *words, "--choose", "none") == 0
    assert json.loads(capsys.readouterr().out)["bundle"] is None
    assert run(monkeypatch, *words, "--resume", "--workers", "2") == 0
    told = json.loads(capsys.readouterr().out)
    bundle = Bundle.open(tmp_path / "b")
    bundle.verify()
    searched = bundle.manifest.training.data["search"]
    assert searched["number"] == told["made"]["number"] == told["knee"]
    assert bundle.manifest.training.config["training"]["epochs"] == 2
    page = (tmp_path / "b.search" / "front.html").read_text()
    assert f"On test, number {told['knee']}, trained in full, " in page
