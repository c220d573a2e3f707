"""`ddnn tune --out` on recorded scores of the tiny bundle."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ddnn.bundle import Bundle
from ddnn.cli.app import app
from ddnn.errors import BadInput
from ddnn.evaluation.recorded import Recorded


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def recorded(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("recorded") / "scores.npz"
    assert run("record", tiny_bundle.path, "synthetic", "--seed", 3, "--out", out).exit_code == 0
    return out


def test_tune_writes_a_report_of_what_it_prints(tiny_bundle: Bundle, recorded: Path, tmp_path: Path) -> None:
    result = run("tune", tiny_bundle.path, recorded, "--criterion", "auto", "--out", tmp_path / "report", "--json")
    assert result.exit_code == 0
    told = json.loads((tmp_path / "report" / "tune.json").read_text())
    assert told == json.loads(result.stdout)
    assert told["bundle"]["fingerprint"] == tiny_bundle.fingerprint
    assert told["data"]["name"] == "synthetic"
    assert "Criteria compared" in (tmp_path / "report" / "tune.html").read_text()


def test_people_are_told_where_the_report_is(tiny_bundle: Bundle, recorded: Path, tmp_path: Path) -> None:
    result = run("tune", tiny_bundle.path, recorded, "--out", tmp_path)
    assert result.exit_code == 0
    assert "The report is" in result.stdout


@pytest.mark.long
def test_under_a_risk_the_criterion_too_is_chosen_on_what_learns_alone(tiny_bundle: Bundle, tmp_path: Path) -> None:
    out, flags = tmp_path / "train.npz", ("--risk", "0.9", "--confidence", "0.8", "--criterion", "auto")
    assert run("record", tiny_bundle.path, "synthetic", "--seed", 3, "--split", "train", "--out", out).exit_code == 0
    many = Recorded.load(out).split("train")  # of the few of validation too few would learn
    Recorded.of(tiny_bundle, {"validation": many}).save(out)
    result = run("tune", tiny_bundle.path, out, *flags, "--out", tmp_path, "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["criteria"] is None
    assert told["guarantee"]["criterion"] == told["after"]["criterion"]
    assert "The guarantee" in (tmp_path / "tune.html").read_text()


def test_under_a_risk_the_evidence_is_told(tiny_bundle: Bundle, recorded: Path, tmp_path: Path) -> None:
    result = run("tune", tiny_bundle.path, recorded, "--risk", "0.9", "--confidence", "0.8")
    assert result.exit_code == 0, result.output
    assert "events learnt." in result.stdout
    assert "testing events, p =" in result.stdout


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--confidence", "0.9"), "expected --risk beside it"),
        (("--grid", "3x2"), "--grid divides data"),
        (("--group-by", "who"), "--group-by divides data"),
        (("--test-groups", "a"), "--test-groups divides data"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    tiny_bundle: Bundle, recorded: Path, options: tuple[str, str], sentence: str
) -> None:
    result = run("tune", tiny_bundle.path, recorded, *options)
    assert isinstance(result.exception, BadInput)
    assert sentence in str(result.exception)


def test_where_a_report_cannot_be_written_no_policy_is(tiny_bundle: Bundle, recorded: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    was = Bundle.open(tiny_bundle.path).policy
    result = run("tune", tiny_bundle.path, recorded, "--write", "--out", tmp_path / "file" / "report")
    assert isinstance(result.exception, OSError)
    assert Bundle.open(tiny_bundle.path).policy == was


def test_a_report_does_not_replace_a_file(tiny_bundle: Bundle, recorded: Path) -> None:
    result = run("tune", tiny_bundle.path, recorded, "--out", recorded)
    assert isinstance(result.exception, BadInput)
    assert "which is a file; expected a folder" in str(result.exception)
