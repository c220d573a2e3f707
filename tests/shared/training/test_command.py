"""`ddnn train`, as a person meets it."""

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.cli.app import main
from ddnn.evaluation.classes import figures
from ddnn.export import sample_data, write_bundle
from ddnn.extensions import how_to_install
from ddnn.recipe import starts
from ddnn.training import Config, Run, initial_network
from ddnn.types import Exit

pytestmark = pytest.mark.slow

COMMAND = importlib.import_module("ddnn.cli.train")  # the package's own name `train` is the function
TINY = """
[network.device]
filters = [4]
cut_filters = 2
[network.edge]
filters = [6]
cut_filters = 3
[network.cloud]
filters = [6]
[training]
epochs = 2
batch = 64
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Run `ddnn train …` in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["ddnn", "train", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_it_makes_a_bundle_and_says_how_good_it_is(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "b"
    assert (
        run(monkeypatch, "synthetic", "--out", out, "--config", config, "--epochs", "1", "--seed", "3", "--json") == 0
    )
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert printed.err.startswith("synthetic: 480 events (")
    assert "warning: " not in printed.err
    assert re.search(
        r"^epoch 1 of 1: loss [\d.]+, validation local \S+ % edge \S+ % cloud \S+ % one lost \S+ %, [\d.]+ s$",
        printed.err,
        re.MULTILINE,
    )
    bundle = Bundle.open(out)
    bundle.verify()
    assert document["fingerprint"] == bundle.fingerprint
    training = bundle.manifest.training
    assert training.command == f"ddnn train synthetic --out {out} --config {config} --epochs 1 --seed 3"
    assert (training.seed, training.config["training"]["epochs"]) == (3, 1)
    assert training.test["exits"] == document["test"]["exits"]
    assert training.test["yardstick"] == document["test"]["yardstick"]
    assert "note: worse than a simple classifier: " in printed.err
    assert len(training.test["missing"]["one"]["each"]) == 6
    assert training.test["proof"]["events"] == 96
    assert bundle.policy.tuned is None
    assert re.search(
        r"^not tuned, careful thresholds instead \(.*\): there are \d+ validation", printed.err, re.MULTILINE
    )
    assert [json.loads(line)["epoch"] for line in (tmp_path / "b.run" / "metrics.jsonl").read_text().splitlines()] == [
        0
    ]

    assert run(monkeypatch, "synthetic", "--out", out, "--config", config) == 2
    assert "exists; give another --out, or --force" in capsys.readouterr().err
    assert run(monkeypatch, "synthetic", "--out", tmp_path / "b", "--resume", "--epochs", "9", "--force") == 2
    assert "leave --config and its overrides out" in capsys.readouterr().err


def test_ctrl_c_leaves_a_resumable_run_and_no_half_bundle(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "b"

    def interrupt(self: object, record: Mapping[str, Any]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(COMMAND.Watcher, "epoch", interrupt)
        assert run(monkeypatch, "synthetic", "--out", out, "--config", config) == 130
    assert "`--resume` goes on" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.run", "tiny.toml"]
    assert run(monkeypatch, "synthetic", "--out", out, "--config", config) == 2
    assert "add --resume to go on with it, or --force" in capsys.readouterr().err
    assert run(monkeypatch, "synthetic", "--out", out, "--resume", "--no-yardstick") == 0
    Bundle.open(out).verify()
    assert Run.beside(out).summary()["epochs"] == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "train needs a SOURCE and --out BUNDLE"),
        (["mnist5k", "--out", "x"], "add --grid 3x2"),
        (["none.npz", "--out", "x"], "none.npz does not exist"),
        (["synthetic", "--out", "x", "--epochs", "0"], "training.epochs is 0"),
        (["synthetic", "--out", "x", "--config", "none.toml"], "none.toml cannot be read"),
        (["synthetic", "--out", "x", "--resume"], "holds no run to resume"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_every_key_can_be_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--show-config", "--epochs", "7") == 0
    assert capsys.readouterr().out == Config().changed(epochs=7).to_toml()


def test_without_torch_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['torch'] = None; sys.argv[1:] = ['train', 'synthetic', '--out', 'x']\n"
    code += "from ddnn.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "training needs torch" in done.stderr
    assert how_to_install() in done.stderr
    assert "Traceback" not in done.stderr


def test_doubtful_data_are_warned_of_and_trained_on(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    y, path = np.arange(90) % 3 + 1, tmp_path / "mine.npz"
    np.savez(path, X=np.random.default_rng(0).normal(y[:, None, None], 1.0, (90, 2, 6)).astype(np.float32), y=y)
    assert run(monkeypatch, path, "--out", tmp_path / "b", "--config", config, "--epochs", "1", "--no-yardstick") == 0
    assert "warning: no event has class 0; expected" in capsys.readouterr().err


def test_a_second_run_of_the_same_bundle_is_refused(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Run(tmp_path / "b.run").alone():
        for more in ([], ["--force"]):
            assert run(monkeypatch, "synthetic", "--out", tmp_path / "b", "--config", config, *more) == 2
            assert "another process is at work on" in capsys.readouterr().err


def test_the_command_to_serve_it_can_be_typed_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exits = {exit.value: None for exit in Exit}
    report: dict[str, Any] = {"events": 1, "overall": {"accuracy": 1.0, "thresholds": {}}, "exits": exits, "sent": []}
    report["by_class"] = {
        "names": ["a"],
        "events": [1],
        "exits": {},
        **figures(np.zeros(1, np.int64), np.zeros(1, np.int64), 1),
    }
    for called, typed in ((".venv/bin/ddnn", ".venv/bin/ddnn"), ("/somewhere/__main__.py", "ddnn")):
        monkeypatch.setattr(sys, "argv", [called])
        COMMAND._show(Path("out ser"), report)
        assert f"serve it with `{typed} up 'out ser'`" in capsys.readouterr().err


def test_a_bar_moves_with_every_step_and_an_epoch_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    moved = list[tuple[str, int, int]]()
    watcher = COMMAND.Watcher(2, lambda *step: moved.append(step))
    watcher.step(1, 3, 4)
    watcher.epoch({"epoch": 0, "loss": 0.5, "local": 0.5, "edge": None, "cloud": 0.75, "cloud_one_lost": [0.25, 0.5]})
    assert moved == [("training", 7, 8)]
    line = "epoch 1 of 2: loss 0.5000, validation local 50.0 % cloud 75.0 % one lost 25.0 %, "
    assert capsys.readouterr().err.startswith(line)


def test_help_shows_an_example() -> None:
    assert "ddnn train mnist5k --grid 3x2 --out" in COMMAND.train.__doc__


@pytest.mark.long
def test_a_rare_class_is_shown_and_is_kept_where_an_exit_can(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    y = rng.choice(3, 8_000, p=[0.94, 0.05, 0.01])  # common, seldom, rare
    centres = np.random.default_rng(1).normal(size=(3, 4, 8))
    views = (1.2 * centres[y] + rng.normal(size=(len(y), 4, 8))).astype(np.float32)
    np.savez(tmp_path / "imbalanced.npz", X=views, y=np.array(["common", "seldom", "rare"])[y])
    train: list[str | Path] = [
        tmp_path / "imbalanced.npz",
        "--config",
        config,
        "--epochs",
        "12",
        "--no-yardstick",
        "--out",
    ]
    assert run(monkeypatch, *train, tmp_path / "plain") == 0
    assert "recall of class rare, the" in capsys.readouterr().err
    assert run(monkeypatch, *train, tmp_path / "kept", "--min-recall", "rare=0.95") == 0
    recall = {}
    for name in ("plain", "kept"):
        by_class = Bundle.open(tmp_path / name).manifest.training.test["by_class"]
        rare = by_class["names"].index("rare")
        recall[name] = by_class["recall"][rare]
        assert recall[name] < by_class["exits"]["edge"][rare] or name == "kept"
    assert recall["kept"] == by_class["exits"]["edge"][rare] >= 0.95
    promise = Bundle.open(tmp_path / "kept").policy.promise
    assert promise is not None
    assert promise.recall[rare].events < 20
    assert promise.recall[rare].least < 0.95  # a dozen events show no more


def test_what_cannot_be_tuned_for_is_refused_before_training(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train: list[str | Path] = ["synthetic", "--out", tmp_path / "b", "--config", config]
    for wish, sentence in (
        (["--max-accuracy-drop", "-1"], "max_accuracy_drop is -1.0; expected a share from 0"),
        (["--min-recall", "moon=0.9"], "min-recall names class 'moon'"),
    ):
        assert run(monkeypatch, *train, *wish) == 2
        assert sentence in (err := capsys.readouterr().err)
        assert "epoch" not in err


@pytest.mark.long
def test_a_class_without_validation_events_is_tuned_for_on_the_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(starts, "STEPS", 150)  # a network that learns for seconds
    chance = np.random.default_rng(3)
    y = np.where(np.arange(300) % 60 == 0, 2, np.arange(300) % 2)
    split = np.where(np.arange(300) % 5 == 1, "test", np.where(np.arange(300) % 5 == 2, "validation", "train"))
    assert not (y[split == "validation"] == 2).any()
    views = chance.normal(0, 1, (300, 3, 5)).astype(np.float32) + 2 * y[:, None, None]
    np.savez(tmp_path / "rare.npz", X=views, y=np.array(["ok", "worn", "broken"])[y], split=split)
    wishes = ["--min-recall", "broken=0.5", "--minutes", "0.0001", "--no-yardstick"]
    assert run(monkeypatch, tmp_path / "rare.npz", *wishes, "--out", tmp_path / "made") == 0, capsys.readouterr().err
    policy = Bundle.open(tmp_path / "made").policy
    assert policy.tuned is not None
    assert policy.tuned["split"] == "folds"
    assert policy.promise is not None
    assert list(policy.promise.recall) == [0]  # broken


def test_what_only_a_bundle_names_is_imported_if_it_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = {"backbone": "foreign.cameras:Plain", "cuts": ["blocks.0", "blocks.1"]}
    config = Config.of({"network": wanted, "training": {"epochs": 1}})
    data = sample_data([(3, 12, 12)], uint8=True)
    write_bundle(tmp_path / "b", initial_network(config, data, 0), data, config=config.model_dump(mode="json"))
    shown = ("--from", tmp_path / "b", "--show-config")
    assert run(monkeypatch, *shown) == 2
    assert "'foreign.cameras:Plain' is an extension that DDNN_EXTENSIONS does not list" in capsys.readouterr().err
    (tmp_path / "mine.toml").write_text('[network]\nbackbone = "foreign.cameras:Plain"\n')
    assert run(monkeypatch, *shown, "--config", tmp_path / "mine.toml") == 0
    monkeypatch.setenv("DDNN_EXTENSIONS", "foreign")
    assert run(monkeypatch, *shown) == 0
