"""`ddnn evaluate` and `ddnn tune` on a tiny bundle and a file of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from ddnn.bundle import Bundle
from ddnn.cli.measure import evaluate
from ddnn.cli.tune import tune
from ddnn.errors import BadBundle, BadData, BadInput, DDNNError, Infeasible
from ddnn.evaluation import record as recorded
from ddnn.evaluation.recorded import Recorded
from ddnn.evaluation.source import load_for
from ddnn.policy import Policy

pytestmark = pytest.mark.slow

MakeBundle = Callable[..., Bundle]

app = typer.Typer()
app.command()(evaluate)
app.command()(tune)


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """180 events of three devices, 60 a split."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "X": rng.normal(size=(180, 3, 4)).astype(np.float32),
        "y": np.arange(180) % 3,
        "split": np.repeat(["train", "validation", "test"], 60),
    }
    np.savez(tmp_path / "mine.npz", **arrays)
    return tmp_path / "mine.npz"


def failed(result: Result, kind: type[DDNNError], sentence: str) -> None:
    assert isinstance(result.exception, kind)
    assert sentence in str(result.exception)


def test_evaluate_prints_the_document_alone(make_bundle: MakeBundle, data: Path) -> None:
    result = run("evaluate", make_bundle().path, data, "--missing", "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert (document["events"], document["split"]) == (60, "test")
    assert {"exits", "overall", "by_class", "sent", "missing"} <= set(document)  # all keys: test_report


def test_evaluate_shows_tables(make_bundle: MakeBundle, data: Path) -> None:
    result = run("evaluate", make_bundle().path, data, "--split", "validation", "--missing")
    assert result.exit_code == 0
    for words in ("60 validation events", "devices → edge", "overall when it is lost", "with some devices left"):
        assert words in result.stdout
    assert "1+2" in result.stdout or "0+1" in result.stdout


def test_evaluate_without_an_edge_section_shows_no_edge_row(make_bundle: MakeBundle, data: Path) -> None:
    shown = run("evaluate", make_bundle(section=False).path, data).stdout
    assert "local" in shown
    assert not [line for line in shown.splitlines() if line.startswith("edge ") and "→" not in line]


def test_evaluate_refuses_what_does_not_fit(make_bundle: MakeBundle, data: Path, tmp_path: Path) -> None:
    bundle = make_bundle((range(2),)).path
    failed(run("evaluate", bundle, data), BadData, "has 3 devices; the bundle was trained with 2")
    failed(run("evaluate", bundle, data, "--split", "all"), BadData, "split is 'all'")
    failed(run("evaluate", bundle, tmp_path / "none.npz"), BadData, "none.npz does not exist")
    failed(run("evaluate", tmp_path / "none", data), BadBundle, "is not a folder")
    (make_bundle(name="damaged").path / "cloud.onnx").write_bytes(b"")
    failed(run("evaluate", tmp_path / "damaged", data), BadBundle, "cloud.onnx")


def test_tune_writes_nothing_unless_told_to(make_bundle: MakeBundle, data: Path) -> None:
    bundle = make_bundle().path
    before = (bundle / "policy.json").read_bytes()
    result = run("tune", bundle, data, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert set(document) == {
        "before", "after", "objective", "cost", "search", "best_exit", "dropped", "unmet", "promise",
        "frontier", "criteria", "guarantee", "written"
    }  # fmt: skip
    assert document["search"]["exact"]
    assert document["frontier"]["points"][0].keys() == {"local", "edge", "accuracy", "cost"}
    assert document["after"]["version"] == document["before"]["version"] + 1
    assert (document["after"]["validation"]["events"], document["after"]["test"]["events"]) == (60, 60)
    assert (bundle / "policy.json").read_bytes() == before


def test_tune_writes_a_policy_that_says_what_it_was_tuned_on(make_bundle: MakeBundle, data: Path) -> None:
    bundle = make_bundle().path
    result = run("tune", bundle, data, "--max-accuracy-drop", "0.1", "--criterion", "margin", "--write")
    assert result.exit_code == 0
    assert "Written as version 2." in result.stdout
    assert "60 events, chosen on" in result.stdout
    policy = Bundle.open(bundle).policy
    assert (policy.version, policy.criterion) == (2, "margin")
    assert policy.tuned is not None
    assert (policy.tuned["data"], policy.tuned["split"], policy.tuned["events"]) == ("mine", "validation", 60)
    assert not [file for file in bundle.iterdir() if file.name.startswith(".")]


def test_tune_makes_the_policy_of_a_bundle_whose_own_is_another_ones(make_bundle: MakeBundle, data: Path) -> None:
    bundle = make_bundle().path
    Policy(bundle="another").write(bundle)
    with pytest.raises(BadBundle):
        Bundle.open(bundle)
    assert run("tune", bundle, data, "--write").exit_code == 0
    assert Bundle.open(bundle).policy.version == 2


def test_what_cannot_be_met_is_said_and_nothing_is_written(make_bundle: MakeBundle, data: Path) -> None:
    bundle = make_bundle().path
    before = (bundle / "policy.json").read_bytes()
    infeasible = run("tune", bundle, data, "--max-accuracy-drop", "0", "--max-cost", "0", "--write")
    failed(infeasible, Infeasible, "no thresholds reach an accuracy of")
    failed(run("tune", bundle, data, "--criterion", "vibes", "--write"), BadInput, "criterion is 'vibes'")
    assert (bundle / "policy.json").read_bytes() == before


def test_tune_takes_recorded_scores_in_place_of_data(make_bundle: MakeBundle, data: Path, tmp_path: Path) -> None:
    bundle, file = make_bundle(), tmp_path / "scores.npz"
    events = load_for(bundle, str(data))
    parts = {split: recorded(bundle, events.subset(split)) for split in ("validation", "test")}
    Recorded.of(bundle, parts).save(file)
    first, second = (json.loads(run("tune", bundle.path, each, "--json").stdout) for each in (data, file))
    assert first == second
    failed(run("tune", bundle.path, file, "--live"), BadInput, "--live judges events with devices left out")


def test_tune_by_other_objectives_and_costs(make_bundle: MakeBundle, data: Path) -> None:
    bundle = make_bundle().path
    shown = run("tune", bundle, data, "--max-cost", "1500", "--max-share", "cloud=0.4", "--cost", "body")
    assert "best accuracy at a cost of at most 1,500.0 body bytes an event, with at most 40 %" in shown.stdout
    link = ("--cost", "latency", "--link", "device-edge=5ms,50mbit", "--link", "edge-cloud=40ms,10mbit")
    document = json.loads(run("tune", bundle, data, *link, "--max-cost", "30", "--live", "--json").stdout)
    assert document["after"]["validation"]["cost"]["mean"] <= 0.030
    assert document["after"]["live"] == [1, 2]
    infeasible = run("tune", bundle, data, "--max-accuracy-drop", "0", "--max-cost", "0", "--json", "--write")
    failed(infeasible, Infeasible, "nearest: with no limit on cost")
    assert json.loads(infeasible.stdout)["nearest"][0]["without"] == "cost"
    automatic = json.loads(run("tune", bundle, data, "--criterion", "auto", "--json").stdout)
    assert automatic["after"]["criterion"] == automatic["criteria"]["chosen"]


def test_tune_keeps_classes_or_says_what_it_can(make_bundle: MakeBundle, data: Path) -> None:
    bundle = make_bundle().path
    document = json.loads(run("tune", bundle, data, "--min-recall", "0", "--balanced", "--json").stdout)
    assert document["objective"]["balanced"]
    assert set(document["objective"]["min_recall"].values()) == {0}
    assert document["frontier"]["points"][0].keys() == {"local", "edge", "balanced_accuracy", "cost"}
    assert document["after"]["validation"]["by_class"].keys() >= {"names", "recall", "precision", "confusion", "exits"}
    shown = run("tune", bundle, data, "--min-recall", "0=0", "--balanced", "--max-cost", "1e9").stdout
    assert "The best balanced accuracy at a cost of" in shown
    assert "with a recall of at least 0 % of class " in shown
    assert "Recall, with 95 % confidence at least: " in shown
    failed(run("tune", bundle, data, "--min-recall", "1"), Infeasible, "% of every class on 60 events")
    failed(run("tune", bundle, data, "--min-recall", "moon=1"), BadInput, "names class 'moon'")
    failed(
        run("tune", bundle, data, "--max-accuracy-drop", "-1"), BadInput, "max_accuracy_drop is -1.0; expected a share"
    )


def test_tune_promises_a_risk_or_refuses(make_bundle: MakeBundle, data: Path) -> None:
    bundle = make_bundle().path
    document = json.loads(run("tune", bundle, data, "--risk", "0.5", "--unlabelled", "--json", "--write").stdout)
    promised = Bundle.open(bundle).policy.promise
    assert promised is not None
    assert (promised.risk, promised.loss, document["guarantee"]["risk"]) == (0.5, "disagreement", 0.5)
    failed(run("tune", bundle, data, "--risk", "0.001"), Infeasible, "needs")
    failed(run("tune", bundle, data, "--risk", "0.1", "--max-cost", "5"), BadInput, "an objective by itself")
    failed(run("tune", bundle, data, "--unlabelled"), BadInput, "expected --risk beside it")
    failed(run("tune", bundle, data, "--link", "edge-cloud=1ms"), BadInput, "expected --cost latency")
    failed(run("tune", bundle, data, "--offload", "late"), BadInput, "offload is 'late'")


def test_too_few_validation_events_are_refused(make_bundle: MakeBundle, data: Path, tmp_path: Path) -> None:
    with np.load(data) as file:
        few = {name: file[name][:110] for name in ("X", "y")}
    np.savez(tmp_path / "few.npz", **few, split=np.array(["train"] * 60 + ["validation"] * 40 + ["test"] * 10))
    failed(run("tune", make_bundle().path, tmp_path / "few.npz"), BadData, "40 events to tune on; expected at least 50")
