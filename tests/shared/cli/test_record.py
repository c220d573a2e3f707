"""`ddnn record` on the tiny bundle."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ddnn.bundle import Bundle
from ddnn.cli.app import app
from ddnn.errors import BadData, BadInput
from ddnn.evaluation.recorded import Recorded


def run(*args: object) -> Result:
    return CliRunner().invoke(app, ["record", *(str(arg) for arg in args)])


def test_record_writes_what_tuning_reads(tiny_bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "scores.npz"
    result = run(tiny_bundle.path, "synthetic", "--seed", 3, "--out", out, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert (document["file"], document["bundle"], document["data"]) == (str(out), tiny_bundle.fingerprint, "synthetic")
    read = Recorded.load(out, tiny_bundle)
    assert {name: len(scores) for name, scores in read.splits.items()} == {
        name: told["events"] for name, told in document["splits"].items()
    }
    assert set(read.splits) == {"validation", "test"}
    assert read.split("test").source["fingerprint"] == document["fingerprint"]


def test_record_shows_a_table_of_the_splits_asked_for(tiny_bundle: Bundle, tmp_path: Path) -> None:
    result = run(tiny_bundle.path, "synthetic", "--seed", 3, "--out", tmp_path / "s.npz", "--split", "train")
    assert result.exit_code == 0
    assert "train" in result.stdout
    assert "validation" not in result.stdout
    assert "Written to" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        (("--out", "none/scores.npz"), BadInput, "--out is none/scores.npz; expected a file in a folder that exists"),
        (("--out", "scores.npz", "--split", "all"), BadData, "split is 'all'"),
    ],
)
def test_what_cannot_be_recorded_gets_a_sentence(
    tiny_bundle: Bundle,
    arguments: tuple[str, ...],
    kind: type[Exception],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(tiny_bundle.path, "synthetic", "--seed", 3, *arguments)
    assert isinstance(result.exception, kind)
    assert sentence in str(result.exception)
    assert not list(tmp_path.iterdir())
