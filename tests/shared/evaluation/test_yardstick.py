"""The best simple classifiers beside the exits."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from ddnn.bundle import Bundle
from ddnn.cli.measure import evaluate as evaluate_command
from ddnn.data import Dataset
from ddnn.errors import BadData, BadInput
from ddnn.evaluation import evaluate
from ddnn.evaluation.table import show
from ddnn.evaluation.yardstick import best_alone, kept_yardstick, named, shortfall, yardstick
from ddnn.pipeline import finish_bundle
from ddnn.training import Config, initial_network

MakeBundle = Callable[..., Bundle]
MakeData = Callable[..., Dataset]

SMALL = {name: {"widths": [4], "cut_width": 8} for name in ("device", "edge")} | {"cloud": {"widths": [4]}}


def split_data(make_data: MakeData, events: int = 240, **keys: Any) -> Dataset:
    """Device 1 alone sees the class, in the element of its view whose scale is the smallest."""
    data = make_data(events, **keys)
    views = list(data.views)
    views[1] = views[1] * np.array([1e-3, 1, 1, 1], np.float32) + np.array([0, 50, 0, 0], np.float32)
    views[1][:, 0] += np.where(data.present[:, 1], data.y, 0) * np.float32(0.02)
    return replace(
        data, views=tuple(views), split=np.array(["train", "train", "validation", "test"])[np.arange(events) % 4]
    )


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    judged = {
        "validation": {"accuracy": 0.9, "balanced_accuracy": 0.8},
        "test": {"accuracy": 0.7, "balanced_accuracy": 0.6},
    }
    entry = {"classifier": "boosting", "device": None, **judged}
    alone = [{"classifier": "random forest", "device": device, **judged} for device in range(3)]
    return {
        "events": 120,
        "elements": 12,
        "all": {"boosting": judged, "random forest": judged},
        "alone": alone,
        "best": entry,
    }


def test_simple_classifiers_find_the_device_that_sees_the_class(make_data: MakeData) -> None:
    found = yardstick(split_data(make_data))
    assert list(found["all"]) == ["logistic regression", "random forest", "boosting"]
    assert all(figures["test"]["accuracy"] > 0.9 for figures in found["all"].values())
    assert [entry["device"] for entry in found["alone"]] == [0, 1, 2]
    alone = best_alone(found)
    assert alone is not None
    assert alone["device"] == 1
    assert found["alone"][0]["test"]["accuracy"] < 0.7 < alone["test"]["accuracy"]
    assert (found["events"], found["elements"]) == (120, 12)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_best_is_chosen_on_validation_alone(make_data: MakeData) -> None:
    data = split_data(make_data)
    shuffled = np.where(data.split == "test", (data.y + 1) % 3, data.y)
    found, other = yardstick(data), yardstick(replace(data, y=shuffled))
    assert (found["best"]["classifier"], found["best"]["validation"]) == (
        other["best"]["classifier"],
        other["best"]["validation"],
    )
    assert other["best"]["test"]["accuracy"] < 0.1


def test_what_is_missing_or_not_seen_does_not_matter(make_data: MakeData) -> None:
    data = split_data(make_data, hidden=0.3)
    views = [view.copy() for view in data.views]
    views[0][::7, 2] = np.nan
    views[2][::5, 1] = np.inf
    unseen = [np.where(data.present[:, device, None], view, np.float32(7)) for device, view in enumerate(views)]
    found = yardstick(replace(data, views=tuple(views)))
    assert found == yardstick(replace(data, views=tuple(unseen)))
    assert found["best"]["test"]["accuracy"] > 0.6


def test_a_lone_device_is_all_there_is(make_data: MakeData) -> None:
    found = yardstick(split_data(make_data).of_devices([1]))
    assert found["alone"] == []
    assert best_alone(found) is None
    assert found["best"]["device"] is None


def test_it_refuses_what_cannot_be_judged(make_data: MakeData, monkeypatch: pytest.MonkeyPatch) -> None:
    data = split_data(make_data)
    with pytest.raises(BadInput, match="expected to be asked about validation or test"):
        yardstick(data, split="train")
    with pytest.raises(BadData, match="have class a; expected two classes"):
        yardstick(replace(data, y=np.where(data.split == "train", 0, data.y)))
    with pytest.raises(BadData, match="has no validation events"):
        yardstick(data.take(np.flatnonzero(data.split != "validation")))
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(BadInput, match="the yardstick needs sklearn"):
        yardstick(data)


def test_a_bundle_keeps_its_yardstick_for_its_own_events(make_data: MakeData, tmp_path: Path) -> None:
    data = split_data(make_data)
    network = initial_network(Config.of({"network": SMALL}), data, 0)
    bundle = finish_bundle(network, data, tmp_path / "b", golden_events=10)
    kept = kept_yardstick(bundle, data, "test")
    assert kept == yardstick(data)
    assert kept_yardstick(bundle, data, "train") is None
    assert kept_yardstick(bundle, replace(data, fingerprint="0" * 64), "test") is None
    test = bundle.manifest.training.test
    sentence = shortfall(test, None)
    assert sentence is not None
    assert sentence.endswith("train without --config and --epochs, so that a recipe is looked for")
    without = finish_bundle(network, data, tmp_path / "c", golden_events=10, yardstick=False)
    assert without.manifest.training.test == {key: value for key, value in test.items() if key != "yardstick"}


def test_without_scikit_learn_a_bundle_is_made_all_the_same(
    make_data: MakeData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, sentences = split_data(make_data), list[str]()
    network = initial_network(Config.of({"network": SMALL}), data, 0)
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    bundle = finish_bundle(network, data, tmp_path / "b", golden_events=10, say=sentences.append)
    assert "yardstick" not in bundle.manifest.training.test
    assert sentences[-1].startswith("no simple classifier beside it: the yardstick needs sklearn")


@pytest.mark.parametrize(
    ("overall", "local", "recipe", "advice"),
    [
        (0.696, 0.5, None, None),
        (0.6, 0.699, None, "the local exit alone has 69.9 %: tune with a smaller --max-accuracy-drop"),
        (0.6, 0.5, None, "train without --config and --epochs, so that a recipe is looked for"),
        (0.6, 0.5, {"left": ["bins", "noise"]}, "with more --minutes, as there was no time to try bins, noise"),
        (0.6, 0.5, {"left": []}, "bring more training events, or a --config of your own"),
    ],
)
def test_where_a_network_is_worse_one_sentence_says_what_to_do(
    found: dict[str, Any], overall: float, local: float, recipe: dict[str, Any] | None, advice: str | None
) -> None:
    exits = {"device": {"accuracy": [0.9]}, "local": {"accuracy": local}, "edge": None, "cloud": {"accuracy": 0.5}}
    document = {"yardstick": found, "split": "test", "overall": {"accuracy": overall}, "exits": exits}
    sentence = shortfall(document, recipe)
    if advice is None:
        assert sentence is None
    else:
        assert sentence is not None
        assert "60.0 % of the test events are right overall, 70.0 % with boosting, all devices; " in sentence
        assert sentence.endswith(advice)


def test_the_table_shows_the_best_and_the_best_single_device(
    make_bundle: MakeBundle, make_data: MakeData, found: dict[str, Any]
) -> None:
    out = StringIO()
    show(evaluate(make_bundle(), make_data()) | {"yardstick": found}, Console(file=out, width=110))
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert "best simple: boosting, all devices 70.0 % 60.0 %" in lines
    assert "best single device (0): random forest 70.0 % 60.0 %" in lines
    assert "random forest, all devices 70.0 % 60.0 %" in lines
    assert named(found["alone"][2]) == "random forest, device 2 alone"


@pytest.mark.slow
def test_evaluate_fits_them_when_asked_to(make_bundle: MakeBundle, make_data: MakeData, tmp_path: Path) -> None:
    data, bundle = split_data(make_data), make_bundle().path
    np.savez(tmp_path / "mine.npz", X=np.stack(data.views, axis=1), y=data.y, split=data.split)
    app = typer.Typer()
    app.command()(evaluate_command)
    words = [str(bundle), str(tmp_path / "mine.npz"), "--json"]
    plain, asked = (CliRunner().invoke(app, [*words, *more]) for more in ([], ["--yardstick"]))
    assert "yardstick" not in json.loads(plain.stdout)
    assert json.loads(asked.stdout)["yardstick"]["best"]["test"]["accuracy"] > 0.9
    assert "note: worse than a simple classifier" in asked.stderr
    refused = CliRunner().invoke(app, [*words, "--yardstick", "--split", "train"])
    assert isinstance(refused.exception, BadInput)
