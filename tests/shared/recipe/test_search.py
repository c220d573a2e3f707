"""The search for a recipe, on events that are not tested."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ddnn.data import Dataset, load
from ddnn.data.folds import folded
from ddnn.export import sample_data
from ddnn.recipe import find, starts
from ddnn.recipe.starts import Looks, changes, judging, passing, start
from ddnn.training import Run


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks learn in a tenth of the steps: a search is what is looked at, not what it finds."""
    monkeypatch.setattr(starts, "STEPS", 150)


def test_folds_are_stretches_of_each_class_and_leave_the_test_out() -> None:
    data = sample_data([(4,)], events=120)
    folds = folded(data, 3, most=1000, seed=0)
    held = [np.sort(fold.subset("validation").index) for fold in folds]
    assert sorted(np.concatenate(held).tolist()) == np.flatnonzero(data.split != "test").tolist()
    for label in range(3):
        of_label = [rows[data.y[rows] == label] for rows in held]
        assert all(one.max() < other.min() for one, other in pairwise(of_label))


def test_groups_stay_whole_in_folds() -> None:
    data = sample_data([(4,)], events=120)
    grouped = replace(data, groups=np.arange(120) // 10)
    for fold in folded(grouped, 3, most=1000, seed=0):
        assert fold.groups is not None
        sides = [set(fold.groups[fold.split == part].tolist()) for part in ("train", "validation")]
        assert not sides[0] & sides[1]


@pytest.mark.parametrize(
    ("shapes", "uint8", "kind"),
    [
        ([(4,)] * 2, False, "numbers"),
        ([(1, 60)] * 2, False, "numbers"),
        ([(9, 63)] * 2, False, "series"),
        ([(3, 8, 8)] * 2, True, "images"),
        ([(1,), (3,), (2,)], False, "numbers"),
    ],
)
def test_every_kind_of_data_has_a_recipe_to_start_from(shapes: list[tuple[int, ...]], uint8: bool, kind: str) -> None:
    looks = Looks.of(sample_data(shapes, uint8=uint8))
    assert looks.kind == kind
    config = start(looks)
    assert bool(changes(looks, config)) == (kind != "images")


def test_series_of_few_numbers_may_be_sent_themselves() -> None:
    looks = Looks.of(sample_data([(3, 51)] * 2))
    (change,) = passing(looks, start(looks))
    assert change.document["network"]["device"] == {"pass_on": True, "cut_codec": "bits8"}
    long = Looks.of(sample_data([(9, 63)] * 2))
    assert passing(long, start(long)) == []


def small() -> Dataset:
    chance = np.random.default_rng(1)
    data = sample_data([(3,)] * 2, events=180)
    return replace(
        data, views=tuple(view + chance.normal(0, 0.1, view.shape).astype(np.float32) for view in data.views)
    )


@pytest.mark.long
def test_a_search_tries_keeps_and_remembers(tmp_path: Path) -> None:
    run, heard = Run(tmp_path / "bundle.run"), list[str]()
    recipe = find(small(), minutes=0.05, run=run, progress=lambda what, done, whole: heard.append(what))
    assert recipe.trials[0].kept
    assert 0.4 < recipe.trials[0].score <= 1
    assert heard[0] == "trying the simplest recipe"
    assert recipe.left  # three seconds are not enough for all
    lines = (run.path / "trials.jsonl").read_text().splitlines()
    trained = [trial for trial in recipe.trials if not any(word in trial.name for word in ("beside", "judged"))]
    assert len(lines) == len(trained)
    assert sum("judged" in trial.name for trial in recipe.trials) == len(judging(recipe.looks))
    again = find(small(), minutes=0.0001, run=run)
    assert again.trials[0] == recipe.trials[0]
    assert json.loads(json.dumps(recipe.document()))["trials"][0]["tried"] == "the simplest recipe"


@pytest.mark.long
def test_the_test_events_change_nothing() -> None:
    data = small()
    other = replace(data, y=np.where(data.split == "test", (data.y + 1) % 3, data.y))
    found = [find(each, minutes=0.0001).trials[0] for each in (data, other)]
    assert (found[0].score, found[0].exits) == (found[1].score, found[1].exits)


@pytest.mark.long
def test_classifiers_that_folds_cannot_tell_apart_have_the_same_say() -> None:
    data = small()
    recipe = find(data, minutes=0.0001)
    tables = recipe.config.network.edge, recipe.config.network.cloud
    shares = {(table.linear > 0) * table.linear_share for table in tables}
    assert len(shares) == 1
    assert all(0 <= share <= 0.9 for share in shares)
    assert all(1 / 16 <= each <= 16 for table in tables for each in table.temperatures)
    assert recipe.scores is not None
    assert len(recipe.scores) == (data.split != "test").sum()


def test_without_time_the_simplest_recipe_is_taken_untried() -> None:
    recipe = find(load("synthetic"), minutes=0)
    assert recipe.trials == ()
    assert recipe.looks.kind == "images"
